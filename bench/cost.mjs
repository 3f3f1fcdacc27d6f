// What the methods of the paper cost beside LoRA on the same rows: time of a step, peak memory and trained parameters, as ratios,
// with steps taken in turn:
//   npm run bench -- cost [--ranks 8,256] [--device cuda]
import { AdamW, asylora, dora, loadModel, lora, loraPlus, mora, openDevice } from 'node-mora'
import { packedBatch, textIds } from './common/batch.mjs'
import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { dtypeOf, list, readOptions, whole } from './common/options.mjs'
import { report } from './common/report.mjs'
import { mebibytes, table } from './common/table.mjs'
import { trainStep } from './common/train-step.mjs'
import { median, spread, takeTurns } from './common/turns.mjs'
import { stopwatch } from './generation/stopwatch.mjs'

/** Methods by the paper's names; those that restart are measured after a merge. */
const methods = [
  { name: 'LoRA', config: lora },
  { name: 'LoRA+', config: loraPlus },
  { name: 'AsyLoRA', config: (options) => asylora({ ...options, asyloraTrainA: true }) },
  { name: 'AsyLoRA, A frozen', config: asylora },
  { name: 'DoRA', config: dora },
  { name: 'ReLoRA', config: lora, restarts: true },
  ...['truncation', 'sharing', 'decoupling', 'rotation'].map((operator) => ({
    name: `MoRA, ${operator}`,
    config: (options) => mora({ ...options, operator }),
  })),
  { name: 'ReMoRA', config: (options) => mora({ ...options, operator: 'sharing' }), restarts: true },
]
const full = { name: 'FFT', config: null }

const options = readOptions({
  usage: `node bench/cost.mjs [MODEL] [options]: steps of every method of the paper beside LoRA's, taken in turn.

  --ranks LIST     default 8,256; full training takes turns with the first
  --device D       default cpu
  --dtype D        bfloat16 or float32, default bfloat16
  --rows N         documents of a step, default 4; --length N: tokens of each, default 512`,
  own: {
    ranks: { type: 'string', default: '8,256' },
    device: { type: 'string', default: 'cpu' },
    dtype: { type: 'string', default: 'bfloat16' },
    rows: { type: 'string', default: '4' },
    length: { type: 'string', default: '512' },
  },
  rounds: 5,
})
const { ranks, dtype, rows, length } = orUsageError(() => ({
  ranks: list(options.ranks).map((rank) => whole('ranks', rank, 1)),
  dtype: dtypeOf('dtype', options.dtype),
  rows: whole('rows', options.rows, 1),
  length: whole('length', options.length, 2),
}))
const machine = describeMachine(`${options.model}, ${dtype}, ${rows} × ${length} tokens`, options)

const lines = []
const costs = []
for (const [i, rank] of ranks.entries()) costs.push(...(await costsAt(rank, i === 0 ? [...methods, full] : methods)))
const times = (ratio) => `${ratio.toFixed(ratio < 10 ? 3 : 1)}×`
const rowsOfTable = costs.map(({ name, time, processor, memory, parameters, peakMemory, trained, merge }) => [
  name,
  ...[time, processor, memory, parameters].map(times),
  mebibytes(peakMemory),
  trained,
  merge === undefined ? '-' : merge.toFixed(2),
])
const header = ['beside LoRA', 'time', 'processor', 'memory', 'parameters', 'peak MiB', 'trained', 'a merge, in steps']
console.log(`\n${table(header, rowsOfTable)}`)
report({ benchmark: 'cost', machine, options, lines, facts: { dtype, rows, length, costs } })

/** Steps of each method in turn with LoRA's; resolves with their costs beside it. */
async function costsAt(rank, methods) {
  const [first, ...others] = methods
  const lora = await sideOf(first, rank)
  const costs = [costOf(lora, lora, { time: 1, processor: 1 })]
  const stepsOfLora = []
  for (const method of others) {
    const side = await sideOf(method, rank)
    const [theirs, own] = await takeTurns([lora, side], options.rounds)
    const ratio = (part) => median(own.map((step, round) => step[part] / theirs[round][part]))
    costs.push(costOf(side, lora, { time: ratio('seconds'), processor: ratio('cpuSeconds') }))
    lineOf(side, own)
    stepsOfLora.push(...theirs)
    side.dispose()
  }
  lineOf(lora, stepsOfLora)
  lora.dispose()
  return costs
}

function lineOf({ name, peakMemory }, steps) {
  lines.push({ name, sides: [{ name: 'node-mora', seconds: spread(steps.map(({ seconds }) => seconds)), peakMemory }] })
}

function costOf({ name, peakMemory, trained, mergeSeconds, stepSeconds }, lora, ratios) {
  return {
    name,
    ...ratios,
    memory: peakMemory / lora.peakMemory,
    parameters: trained / lora.trained,
    peakMemory,
    trained,
    ...(mergeSeconds && { merge: mergeSeconds / stepSeconds }),
  }
}

/** A side of `takeTurns`, with a model of its own. Its peak is what it adds to the memory in use before. */
async function sideOf({ name, config, restarts = false }, rank) {
  process.stderr.write(`${name} …\n`)
  const { device: kind, threads } = options
  const device = openDevice({ device: kind, threads })
  const before = device.memory().inUse
  const model = await loadModel(options.model, { device: kind, dtype, threads })
  const batch = packedBatch(await textIds(model.tokenizer, rows, length), rows, length)
  if (config) await model.addAdapter('trained', config({ rank }), { seed: 1 })
  else model.trainAll()
  const trainedNow = () => model.trainableParameters().map(({ parameter }) => parameter)
  const optimizer = new AdamW(trainedNow())
  const step = () => trainStep(model, optimizer, batch, 1e-5)
  await step()
  let mergeSeconds
  const lap = stopwatch()
  if (restarts) {
    await model.restartAdapter('trained', { seed: 2 })
    await device.synchronize()
    mergeSeconds = lap().seconds
    optimizer.setParameters(trainedNow())
    await step()
  }
  device.resetPeak()
  lap()
  await step()
  const stepSeconds = lap().seconds
  const peakMemory = device.memory().peak - before
  return {
    name: config ? `${name} r=${rank}` : name,
    peakMemory,
    trained: trainedNow().reduce((sum, { elements }) => sum + elements, 0),
    mergeSeconds,
    stepSeconds,
    async run() {
      const lap = stopwatch()
      await step()
      await device.synchronize()
      return lap()
    },
    dispose() {
      optimizer.dispose()
      model.dispose()
    },
  }
}
