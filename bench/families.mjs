// Models of the real shapes of much used checkpoints, cut to a few blocks: the time of a block's forward and backward pass, that of
// a block in one stream of tokens, and the memory of training the whole model, which follow from two cuts:
//   node bench/families.mjs [--stream | --memory] [--checkpoints ID,…]
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AdamW, initModel, loadModel, lora, openDevice } from 'node-mora'
import { packedBatch } from './common/batch.mjs'
import { orUsageError } from './common/command-line.mjs'
import { parseConfig, weightShapes } from './common/internals.mjs'
import { describeMachine } from './common/machine.mjs'
import { dtypeOf, readOptions, someOf, whole } from './common/options.mjs'
import { productPeaks, readBandwidth } from './common/peaks.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { table } from './common/table.mjs'
import { trainStep } from './common/train-step.mjs'
import { secondsOf, spread, takeTurns } from './common/turns.mjs'
import { CHECKPOINTS, cutConfig } from './families/checkpoints.mjs'
import { generate } from './generation/greedy.mjs'

const options = readOptions({
  usage: `node bench/families.mjs [options]: blocks of much used checkpoints, LoRA r = 8 beside a frozen base.

  --checkpoints LIST  default all: ${Object.keys(CHECKPOINTS).join(', ')}
  --stream         a block for each of 64 tokens that are generated after 512, instead: the bound reads its weights once
  --memory         the memory of a training step of 512 tokens, of the whole model, instead of times
  --blocks N       of the smaller cut, the first ones; default: after which the kinds of blocks repeat
  --dtype D        bfloat16 or float32, default bfloat16`,
  own: {
    checkpoints: { type: 'string', default: Object.keys(CHECKPOINTS).join(',') },
    stream: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: false },
    blocks: { type: 'string' },
    dtype: { type: 'string', default: 'bfloat16' },
  },
  needsModel: false,
  rounds: 5,
})
const { ids, dtype } = orUsageError(() => ({
  ids: someOf('checkpoints', options.checkpoints, Object.keys(CHECKPOINTS)),
  dtype: dtypeOf('dtype', options.dtype),
}))
const { threads } = options
const periodOf = (id) => (options.blocks ? whole('blocks', options.blocks, 1) : (CHECKPOINTS[id].period ?? 1))
const folder = scratchFolder()
const device = openDevice({ device: 'cpu', threads })
const machine = describeMachine(`Blocks of ${ids.length} checkpoints, ${dtype}`, options)
/** Rows × tokens of a step. */
const SHAPES = [
  [4, 512],
  [1, 4096],
]
const modelOptions = { device: 'cpu', dtype, threads }
if (options.memory) await reportMemory()
else await reportTimes()

async function reportTimes() {
  const lines = []
  for (const id of ids) {
    process.stderr.write(`${id} …\n`)
    if (options.stream) lines.push(await streamLine(id))
    else for (const [rows, length] of SHAPES) lines.push(await timeLine(id, rows, length))
  }
  report({ benchmark: 'families', machine, options, lines, facts: { dtype } })
}

/** `possible` counts products alone. */
async function timeLine(id, rows, length) {
  const sideOf = (layers) => stepOf(id, layers, rows, length)
  const possible = (linears) => productSeconds(linears, rows * length)
  return blockLine(`${id}, ${rows} × ${length}`, id, rows * length, sideOf, possible)
}

/** `possible` reads the weights once for each token. */
async function streamLine(id) {
  const [prompt, tokens] = [512, 64]
  const bytesOfValue = dtype === 'float32' ? 4 : 2
  const possible = async (linears) => {
    const values = linears.reduce((sum, [outFeatures, inFeatures]) => sum + outFeatures * inFeatures, 0)
    return (tokens * values * bytesOfValue) / (1e9 * (await readBandwidth(device)))
  }
  return blockLine(`${id}, one stream`, id, tokens, (layers) => streamOf(id, layers, prompt, tokens), possible)
}

/** A block of one period: the difference of two cuts that have a tiny vocabulary. */
async function blockLine(name, id, amount, sideOf, possibleOf) {
  const period = periodOf(id)
  const [few, more] = [await sideOf(period), await sideOf(2 * period)]
  const [ofFew, ofMore] = await takeTurns([few, more], options.rounds)
  const possible = await possibleOf(more.linears.slice(few.linears.length))
  for (const side of [few, more]) side.dispose()
  return {
    name,
    sides: [{ name: 'a block', seconds: spread(ofMore.map((seconds, i) => (seconds - ofFew[i]) / period)) }],
    amount,
    unit: 'tokens',
    possible: possible / period,
  }
}

/** Seconds of the products of a forward and a backward pass, y and dX, at the speed of each alone. */
async function productSeconds(linears, tokens) {
  let seconds = 0
  const known = new Map()
  for (const [outFeatures, inFeatures] of linears) {
    const key = `${outFeatures} ${inFeatures}`
    if (!known.has(key)) {
      const peaks = await productPeaks(device, dtype, false, [tokens, inFeatures, outFeatures], ['forward', 'dX'])
      const flops = 2e-9 * tokens * inFeatures * outFeatures
      known.set(key, flops / peaks.forward + flops / peaks.dX)
    }
    seconds += known.get(key)
  }
  return seconds
}

/** Tokens of one stream after a prompt, as a side of `takeTurns`. */
async function streamOf(id, layers, prompt, tokens) {
  const model = await cutModel(id, layers, prompt + tokens)
  const ids = Int32Array.from({ length: prompt }, (_, i) => (i * 7919) % 256)
  return {
    name: id,
    run: async () => (await generate(model, ids, tokens)).decode.seconds,
    linears: model.linears().map(({ weight }) => weight.shape),
    dispose: () => model.dispose(),
  }
}

function cutModel(id, layers, positions) {
  const config = writeConfig(cutConfig(CHECKPOINTS[id], layers, { positions, vocabulary: 256 }))
  return initModel(config, { ...modelOptions, seed: 1 })
}

/** A training step of a cut model, as a side of `takeTurns`. */
async function stepOf(id, layers, rows, length) {
  const model = await cutModel(id, layers, length)
  const { step, dispose } = await trainer(model, rows, length)
  return {
    name: id,
    run: () => secondsOf(device, step),
    linears: model.linears().map(({ weight }) => weight.shape),
    dispose,
  }
}

async function trainer(model, rows, length) {
  await model.addAdapter('trained', lora({ rank: 8 }), { seed: 1 })
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  const { vocabularySize } = model.config
  const ids = Int32Array.from({ length: rows * (length + 1) }, (_, i) => (i * 7919) % vocabularySize)
  const batch = packedBatch(ids, rows, length)
  return {
    step: () => trainStep(model, optimizer, batch, 1e-5),
    dispose() {
      optimizer.dispose()
      model.dispose()
    },
  }
}

async function reportMemory() {
  const rows = []
  for (const id of ids) {
    process.stderr.write(`${id} …\n`)
    const [{ config }, period] = [CHECKPOINTS[id], periodOf(id)]
    const cuts = [await memoryOf(id, period), await memoryOf(id, 2 * period)]
    const ofModel = (part) => {
      const [one, two] = cuts.map((cut) => cut[part])
      return one + ((two - one) * (config.num_hidden_layers - period)) / period
    }
    const gibibytes = (part) => (ofModel(part) / 2 ** 30).toFixed(1)
    rows.push([id, `${(ofModel('parameters') / 1e9).toPrecision(3)} B`, gibibytes('floats'), gibibytes('quantised')])
  }
  console.log(`\n${table(['checkpoint', 'parameters', `GiB in ${dtype}`, 'GiB with --quantise nf4'], rows)}`)
  if (options.json) writeFileSync(options.json, JSON.stringify({ machine, dtype, rows }))
}

/** The most memory of the device in a step of 512 tokens, with the base in `dtype` and in NF4, of a model of some blocks. */
async function memoryOf(id, layers) {
  const saved = join(folder, 'model')
  const parameters = writeZeros(saved, cutConfig(CHECKPOINTS[id], layers, { positions: 512 }))
  return {
    parameters,
    floats: await peakOf(await loadModel(saved, modelOptions)),
    quantised: await peakOf(await loadModel(saved, { ...modelOptions, quantise: 'nf4' })),
  }
}

/** Writes a model of zeros, which take as much memory as others and none of the disk; returns the number of its parameters. */
function writeZeros(path, config) {
  mkdirSync(path, { recursive: true })
  writeFileSync(join(path, 'config.json'), JSON.stringify(config))
  let parameters = 0
  const width = dtype === 'float32' ? 4 : 2
  const header = [...weightShapes(parseConfig(config, 'config.json'))].map(([name, shape]) => {
    const start = parameters
    parameters += shape.reduce((product, size) => product * size, 1)
    return [
      name,
      { dtype: dtype === 'float32' ? 'F32' : 'BF16', shape, data_offsets: [width * start, width * parameters] },
    ]
  })
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const file = join(path, 'model.safetensors')
  writeFileSync(file, Buffer.concat([length, json]))
  truncateSync(file, length.length + json.length + width * parameters)
  return parameters
}

async function peakOf(model) {
  const { step, dispose } = await trainer(model, 1, 512)
  await step()
  device.resetPeak()
  await step()
  const { peak } = device.memory()
  dispose()
  return peak
}

function writeConfig(config) {
  const path = join(folder, 'config.json')
  writeFileSync(path, JSON.stringify(config))
  return path
}
