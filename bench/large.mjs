// Checks that a base too large for many machines' memory in bfloat16 trains as stored: a random model of
// Llama-2-7B's shape in Q4_0, by `mora train` with gradient checkpointing:
//   npm run bench -- large [--method lora:8] [--layers 32]
import { createReadStream, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { writeTokenRows } from './common/batch.mjs'
import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { readOptions, whole } from './common/options.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { stepOf, stepOptions } from './common/step-options.mjs'
import { trainCommand } from './common/train-command.mjs'
import { spread } from './common/turns.mjs'
import { vocabulary, writeLargeModel } from './large/write-model.mjs'
import { stageTimes } from './load/stages.mjs'

const GiB = 2 ** 30
const options = readOptions({
  usage: `node bench/large.mjs [MODEL] [options]: a random 7B in Q4_0, with MODEL's tokenizer, trains as it is.

  --layers N       blocks of the model, default 32, which make a file of 3.5 GiB in the system's temporary folder
  --method M       lora:RANK or an operator of MoRA with :RANK, default rotation:8
  --dtype D        bfloat16 or float32, default bfloat16
  --rows N         documents of a step, default 1; --length N: tokens of each, default 512`,
  own: { ...stepOptions, rows: { type: 'string', default: '1' }, layers: { type: 'string', default: '32' } },
})
const { threads } = options
const { method, dtype, rows, length } = stepOf(options)
const layers = orUsageError(() => whole('layers', options.layers, 1))
const machine = describeMachine(`7B of ${layers} layers in Q4_0, ${rows} × ${length} tokens, ${method.label}`, options)

const folder = scratchFolder()
const [model, data, peak, output] = ['large.gguf', 'rows.jsonl', 'peak', 'out'].map((name) => join(folder, name))
await writeLargeModel(model, options.model, layers)
const ids = Int32Array.from({ length: rows * (length + 1) }, () => 3 + Math.floor(Math.random() * (vocabulary - 3)))
writeTokenRows(data, ids, rows, length)
const { size } = statSync(model)
const reading = await secondsToRead(model)

const hook = fileURLToPath(new URL('./memory/peak.mjs', import.meta.url))
const commandArguments = [
  ...['--import', hook],
  ...trainCommand({ model, data, output, method, dtype, rows, length, steps: 3, threads }),
  ...['--gradient-checkpointing', '--quantised'],
]
// The note on the weights is the last line before the first step.
const stageOf = (line) => /^step (\d+)\/\d+ {2}/.exec(line)?.[1] ?? /^note: The model's weights stay/.exec(line)?.[0]
const times = await stageTimes([process.execPath, commandArguments, { MORA_BENCH_PEAK: peak }], stageOf)
const step = (times[3] - times[1]) / 2
const start = Object.entries(times).find(([stage]) => stage.startsWith('note'))?.[1]
const side = (seconds) => [{ name: 'mora train', seconds: spread([seconds]) }]
report({
  benchmark: 'large',
  machine,
  options,
  lines: [
    {
      name: 'a step',
      amount: rows * length,
      unit: 'token',
      memoryLimit: size + GiB,
      sides: [{ ...side(step)[0], peakMemory: Number(readFileSync(peak, 'utf8')) }],
    },
    { name: 'command to the start of the first step', limit: reading + 5, sides: side(start) },
  ],
  notes: [`The file has ${(size / GiB).toFixed(2)} GiB; reading it takes ${reading.toFixed(1)} s.`],
  facts: { method: method.label, dtype, layers, fileBytes: size },
})

async function secondsToRead(path) {
  const start = performance.now()
  for await (const _ of createReadStream(path, { highWaterMark: 2 ** 22 }));
  return (performance.now() - start) / 1000
}
