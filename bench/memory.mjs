// Peak memory of a training process, against PyTorch's; each side runs alone, from its start:
//   npm run bench -- memory [--method rotation:8] [--dtype bfloat16]
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { textIds, writeTokenRows } from './common/batch.mjs'
import { saveFreshAdapter } from './common/fresh-adapter.mjs'
import { describeMachine } from './common/machine.mjs'
import { copyModel } from './common/model-copy.mjs'
import { readOptions } from './common/options.mjs'
import { pytorchMethods, startPytorch } from './common/pytorch.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { SideProcess } from './common/side-process.mjs'
import { stepOf, stepOptions } from './common/step-options.mjs'
import { trainCommand } from './common/train-command.mjs'
import { spread } from './common/turns.mjs'
import { stageTimes } from './load/stages.mjs'
import { lossAgreement } from './training/report.mjs'

const GiB = 2 ** 30
const options = readOptions({
  usage: `node bench/memory.mjs [MODEL] [options]: the most memory of a process that trains.

  --method M       lora:RANK, rotation:RANK or sharing:RANK, default rotation:8
  --dtype D        bfloat16 or float32, default bfloat16
  --rows N         documents of a step, default 4; --length N: tokens of each, default 512; four times as many in the
                   step by micro-batches`,
  own: stepOptions,
  rounds: 3,
})
const { threads, rounds } = options
const { method, dtype, rows, length } = stepOf(options)
const cases = [
  { name: 'a step', length, memoryLimit: 1.1 * GiB },
  { name: 'a step in 1.1 GiB', length, memory: 1.1 * GiB, passRows: 2, memoryLimit: 1.1 * GiB },
  { name: 'gradient checkpointing', length, checkpointing: true, memoryLimit: 0.7 * GiB },
  // PyTorch reads rows one by one, as its users do.
  { name: 'micro-batches', length: 4 * length, memory: 2 * GiB, passRows: 1, memoryLimit: 1.6 * GiB },
]
const machine = describeMachine(`${options.model}, ${method.label} in ${dtype}`, options)

const folder = scratchFolder()
const [copy, adapter, tokens, data] = ['model', 'adapter', 'tokens.bin', 'rows.jsonl'].map((name) => join(folder, name))
const { tokenizer, device } = await copyModel(options.model, copy, { dtype, threads })
await saveFreshAdapter(copy, adapter, method, { dtype, threads })
device.trim()

const script = fileURLToPath(new URL('./training/ours.mjs', import.meta.url))
const hook = new URL('./memory/peak.mjs', import.meta.url).href
const notes = new Set()
const lines = []
for (const { name, memoryLimit, ...settings } of cases) {
  const ids = await textIds(tokenizer, rows, settings.length)
  writeFileSync(tokens, ids)
  writeTokenRows(data, ids, rows, settings.length)
  const task = {
    model: copy,
    adapter,
    operator: method.name,
    tokens,
    dtype,
    rows,
    threads,
    learningRate: 2e-5,
    ...settings,
  }
  const trainer = new SideProcess('node-mora', process.execPath, [script, JSON.stringify(task)])
  await trainer.ready()
  const own = await measured(trainer)
  const sides = [own, await ourCommand(settings), ...(await pytorch(task, own))]
  lines.push({ name: `${name}, ${rows} × ${settings.length}`, memoryLimit, sides })
}
report({ benchmark: 'memory', machine, options, lines, notes: [...notes], facts: { method: method.label, dtype } })

/** Takes the steps of a ready trainer, and ends it; resolves with `{ name, seconds, peakMemory, losses }`. */
async function measured(trainer) {
  const steps = []
  try {
    for (let i = 0; i <= rounds; i++) steps.push(await trainer.ask({ task: 'step' }))
    return {
      name: trainer.name,
      seconds: spread(steps.slice(1).map(({ seconds }) => seconds)),
      peakMemory: trainer.peakMemory(),
      losses: steps.map(({ loss }) => loss),
    }
  } finally {
    await trainer.stop()
  }
}

/**
 * The same by `mora train`, from the command to its end.
 * @param {{ length: number, checkpointing?: boolean, memory?: number }} settings
 */
async function ourCommand({ length, checkpointing, memory }) {
  const [peak, output] = [join(folder, 'peak'), join(folder, 'out')]
  const commandArguments = [
    ...['--import', hook],
    ...trainCommand({ model: copy, data, output, method, dtype, rows, length, steps: rounds + 1, threads }),
    ...(checkpointing ? ['--gradient-checkpointing'] : []),
    ...(memory ? ['--memory', `${memory / GiB}GiB`] : []),
  ]
  // The command prints a line for its first step, its last, and some between.
  const stageOf = (line) => /^step (\d+)\/\d+ {2}/.exec(line)?.[1]
  const times = await stageTimes([process.execPath, commandArguments, { MORA_BENCH_PEAK: peak }], stageOf)
  const seconds = (times[rounds + 1] - times[1]) / rounds
  return { name: 'mora train', seconds: spread([seconds]), peakMemory: Number(readFileSync(peak, 'utf8')) }
}

/** PyTorch in its best setting and, unless quick, with default settings. */
async function pytorch(task, own) {
  if (!options.pytorch || !pytorchMethods.includes(method.name)) return []
  const sides = []
  for (const best of options.quick ? [true] : [true, false]) {
    const name = best ? 'PyTorch, best' : 'PyTorch'
    const trainer = await startPytorch(name, 'train.py', { ...task, best }, options, notes, best)
    if (!trainer) continue
    const side = await measured(trainer)
    sides.push({ ...side, ...lossAgreement(own.losses, side.losses, dtype) })
  }
  return sides
}
