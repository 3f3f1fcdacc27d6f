// Training steps on quantised weights, in turn with the same weights dequantised to bfloat16 and with PyTorch on these:
//   npm run bench -- quantised [--formats stored,q4_k,q8_0,nf4] [--shapes 4x512,1x512] [--methods lora:8,rotation:8]
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AdamW, loadModel } from 'node-mora'
import { packedBatch, textIds } from './common/batch.mjs'
import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { adapterConfig, parseMethod } from './common/methods.mjs'
import { copyModel } from './common/model-copy.mjs'
import { list, readOptions, whole } from './common/options.mjs'
import { pytorchMethods, pytorchSides, stopAll } from './common/pytorch.mjs'
import { agreementOf, report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { table } from './common/table.mjs'
import { trainStep } from './common/train-step.mjs'
import { median, secondsOf, takeTurns, timedSides } from './common/turns.mjs'

const LEARNING_RATE = 1e-5
/** Limits of time, as multiples of the time on bfloat16 weights. */
const LIMIT = 1.1
/** The relative error that rounding to bfloat16 makes of a loss before an update. */
const ROUNDING = 5e-3
const options = readOptions({
  usage: `node bench/quantised.mjs [MODEL] [options]: training steps on quantised weights, in bfloat16.

  --formats LIST   what mora train --quantise takes, or stored: as the model's file has it; default stored,q4_k,q8_0,nf4
  --methods LIST   lora:RANK or an operator of MoRA with :RANK, default lora:8,rotation:8
  --shapes LIST    rows x tokens of each, default 4x512,1x512`,
  own: {
    formats: { type: 'string', default: 'stored,q4_k,q8_0,nf4' },
    methods: { type: 'string', default: 'lora:8,rotation:8' },
    shapes: { type: 'string', default: '4x512,1x512' },
  },
})
const { threads } = options
const { formats, methods, shapes } = orUsageError(() => ({
  formats: list(options.formats),
  methods: list(options.methods).map(parseMethod),
  shapes: list(options.shapes).map(shapeOf),
}))
const machine = describeMachine(`${options.model}, in bfloat16`, options)

const folder = scratchFolder()
const copy = join(folder, 'model')
const { device, tokenizer } = await copyModel(options.model, copy, { dtype: 'float32', threads })
await device.synchronize()
device.trim()

/** @type {import('./common/report.mjs').Line[]} */
const lines = []
/** @type {{ name: string, time: number }[]} */
const comparisons = []
/** @type {Set<string>} */
const notes = new Set()
for (const format of formats) {
  const sides = await modelsOf(format)
  for (const method of methods) {
    for (const { model } of sides) model.addAdapter(method.label, adapterConfig(method), { seed: 1 })
    for (const shape of shapes) await measure(format, sides, method, shape)
    for (const { model } of sides) model.removeAdapter(method.label)
  }
  for (const { model } of sides) model.dispose()
  device.trim()
}
const rows = comparisons.map(({ name, time }) => [name, `${time.toFixed(3)}×`, `${LIMIT.toFixed(2)}×`])
console.log(`\nTime beside the same weights in bfloat16\n${table(['', 'time', 'limit'], rows)}`)
report({ benchmark: 'quantised', machine, options, lines, notes: [...notes], facts: { comparisons } })

/** The model in a format, and the same values (also in `weights`) in bfloat16. */
async function modelsOf(format) {
  const bfloat16 = /** @type {const} */ ({ device: 'cpu', dtype: 'bfloat16', threads })
  const quantised =
    format === 'stored'
      ? await loadModel(options.model, { ...bfloat16, quantised: true })
      : await loadModel(copy, { ...bfloat16, quantise: format })
  const weights = join(folder, format)
  await quantised.save(weights, { dtype: 'bfloat16' })
  return [
    { name: `weights in ${format}`, model: quantised, weights },
    { name: 'weights in bfloat16', model: await loadModel(weights, bfloat16), weights },
  ]
}

async function measure(format, models, method, { rows, length }) {
  const name = `${format}, ${method.label}, ${rows} × ${length}`
  process.stderr.write(`${name} …\n`)
  const ids = await textIds(tokenizer, rows, length)
  const ours = models.map((side) => trainer(side, method, packedBatch(ids, rows, length)))
  const theirs = await pytorchSteps(models.at(-1), method, ids, { rows, length })
  try {
    const sides = [...ours, ...theirs]
    const results = await takeTurns(sides, options.rounds)
    const timed = timedSides(sides, results).map((side, i) => ({ ...side, ...(i > 0 && agreement(sides, i)) }))
    const limit = LIMIT * timed[1].seconds.median
    lines.push({ name, amount: rows * length, unit: 'tokens/s', limit, sides: timed })
    comparisons.push({ name, time: median(results[0].map(({ seconds }, i) => seconds / results[1][i].seconds)) })
  } finally {
    for (const { dispose } of ours) dispose()
    await stopAll(theirs.map(({ side }) => side))
  }
}

/** A side of `takeTurns`; `loss` is that of its first step. */
function trainer({ name, model }, { label }, batch) {
  model.setActiveAdapters([label])
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  const side = {
    name,
    loss: Number.NaN,
    async run() {
      const seconds = await secondsOf(device, async () => {
        const { loss } = await trainStep(model, optimizer, batch, LEARNING_RATE)
        if (Number.isNaN(side.loss)) side.loss = loss
      })
      return { seconds }
    },
    dispose: () => optimizer.dispose(),
  }
  return side
}

/** PyTorch in its best setting on the values in bfloat16. */
async function pytorchSteps({ model, weights }, { label, name }, ids, { rows, length }) {
  if (!options.pytorch || !pytorchMethods.includes(name)) return []
  const [adapter, tokens] = [join(weights, label), join(weights, `${rows}x${length}.bin`)]
  if (!existsSync(adapter)) await model.saveAdapter(label, adapter)
  writeFileSync(tokens, ids)
  const task = {
    model: weights,
    adapter,
    tokens,
    operator: name,
    dtype: 'bfloat16',
    rows,
    length,
    threads,
    learningRate: LEARNING_RATE,
    best: true,
  }
  const sides = await pytorchSides('train.py', task, options, notes, { bestOnly: true })
  return sides.map((side) => {
    const own = {
      name: side.name,
      side,
      loss: Number.NaN,
      async run() {
        const { seconds, loss } = await side.ask({ task: 'step' })
        if (Number.isNaN(own.loss)) own.loss = loss
        return { seconds }
      },
    }
    return own
  })
}

/** Losses before an update. */
function agreement(sides, i) {
  const [own, other] = [sides[0].loss, sides[i].loss]
  return agreementOf(Math.abs(other / own - 1), ROUNDING)
}

function shapeOf(text) {
  const [rows, length] = text.split('x')
  return { rows: whole('shapes', rows, 1), length: whole('shapes', length, 2) }
}
