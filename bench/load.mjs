// From the command to the first finished training step, in parts, with PyTorch's beside it:
//   npm run bench -- load [--method rotation:8] [--rows 4] [--length 512]
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { textIds } from './common/batch.mjs'
import { saveFreshAdapter } from './common/fresh-adapter.mjs'
import { describeMachine } from './common/machine.mjs'
import { copyModel } from './common/model-copy.mjs'
import { readOptions } from './common/options.mjs'
import { pytorchCommand, pytorchMethods } from './common/pytorch.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { stepOf, stepOptions } from './common/step-options.mjs'
import { trainCommand } from './common/train-command.mjs'
import { spread, takeTurns } from './common/turns.mjs'
import { stageTimes } from './load/stages.mjs'

const options = readOptions({
  usage: `node bench/load.mjs [MODEL] [options]: from the command to the first finished training step.

  --method M       lora:RANK, rotation:RANK or sharing:RANK, default rotation:8
  --dtype D        bfloat16 or float32, default bfloat16
  --rows N         documents of a batch, default 4; --length N: tokens of each, default 512`,
  own: stepOptions,
})
const { threads } = options
const { method, dtype, rows, length } = stepOf(options)
const machine = describeMachine(`${options.model}, ${rows} × ${length} tokens`, options)

const folder = scratchFolder()
const [copy, adapter, tokens, data] = ['model', 'adapter', 'tokens.bin', 'rows.jsonl'].map((name) => join(folder, name))
await prepare()

/** Parts of a run: the stage at which a part begins (else at the command's start), and the one at which it ends. */
const parts = {
  'interpreter starts': [undefined, 'start'],
  'libraries are loaded': ['start', 'imports'],
  'weights are loaded': ['imports', 'model'],
  'adapter and batch are made': ['model', 'adapter'],
  'command to first step done': [undefined, 'first step'],
  'second step': ['first step', 'second step'],
}
const script = fileURLToPath(new URL('./load/ours.mjs', import.meta.url))

const lines = await contest(`checkpoint in ${dtype}`, copy, options.pytorch && pytorchMethods.includes(method.name))
if (options.model.endsWith('.gguf')) lines.push(...(await contest('the GGUF file', options.model, false)))
report({ benchmark: 'load', machine, options, lines })

async function contest(what, model, againstPytorch) {
  const task = { model, adapter, operator: method.name, method, tokens, dtype, rows, length, threads }
  const ownStage = (line) =>
    Object.values(parts)
      .flat()
      .find((stage) => stage === line)
  const output = join(folder, 'out')
  const command = trainCommand({ model, data, output, method, dtype, rows, length, steps: 2, threads })
  const sides = [
    {
      name: 'node-mora',
      run: () => stageTimes([process.execPath, [script, JSON.stringify(task)]], ownStage),
    },
    { name: 'mora train', run: () => stageTimes([process.execPath, command], stepStage) },
  ]
  if (againstPytorch)
    sides.push({
      name: 'PyTorch, best',
      run: () => stageTimes(pytorchCommand('load.py', task, options, true), ownStage),
    })
  const results = await takeTurns(sides, options.rounds)
  const line = (name, secondsOf) => ({
    name: `${what}, ${name}`,
    sides: sides.flatMap((side, i) => {
      const seconds = results[i].map(secondsOf)
      return seconds.every(Number.isFinite) ? [{ name: side.name, seconds: spread(seconds) }] : []
    }),
  })
  /** @returns {(times: Record<string, number>) => number} */
  const between = (from, to) => (times) => times[to] - (from === undefined ? 0 : times[from])
  return [
    ...Object.entries(parts).map(([name, [from, to]]) => line(name, between(from, to))),
    line('beyond the step itself', (times) => 2 * times['first step'] - times['second step']),
  ]
}

/** Matches the lines of progress of `mora train` for its first and its last step. */
function stepStage(line) {
  const step = /^step (\d)\/2 {2}/.exec(line)?.[1]
  return step && ['first step', 'second step'][Number(step) - 1]
}

/** Writes what every side reads: the model in one dtype, a fresh adapter, tokens, and as many tokens as rows of text. */
async function prepare() {
  const { tokenizer } = await copyModel(options.model, copy, { dtype, threads })
  if (!tokenizer) throw new Error(`Expected a tokenizer beside ${options.model}.`)
  await saveFreshAdapter(copy, adapter, method, { dtype, threads })
  const ids = await textIds(tokenizer, rows, length)
  writeFileSync(tokens, ids)
  const texts = await Promise.all(
    Array.from({ length: 2 * rows }, (_, row) => {
      const at = (row % rows) * (length + 1)
      return tokenizer.decode([...ids.subarray(at, at + length)])
    }),
  )
  writeFileSync(data, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''))
}
