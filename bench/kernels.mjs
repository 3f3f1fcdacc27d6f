// Single operations at a model's sizes: attention forward and backward against PyTorch's and the product peak, and what
// is bound by memory against its bandwidth:
//   npm run bench -- kernels [--lengths 512,2048,8192] [--tokens 2048] [--dtypes bfloat16]
import { openDevice } from 'node-mora'
import { orUsageError } from './common/command-line.mjs'
import { ModelSource } from './common/internals.mjs'
import { describeMachine } from './common/machine.mjs'
import { dtypeList, list, readOptions, whole } from './common/options.mjs'
import { copyBandwidth, productPeaks } from './common/peaks.mjs'
import { pytorchSides, stopAll } from './common/pytorch.mjs'
import { agreementOf, report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { secondsOf, takeTurns, timedSides } from './common/turns.mjs'
import { attentionFlops, largestDifference, OurAttention, readOutputs, writeInputs } from './kernels/attention.mjs'
import { adamwCase, memoryCases } from './kernels/memory-cases.mjs'

const options = readOptions({
  usage: `node bench/kernels.mjs [MODEL] [options]: single operations at the model's sizes.

  --lengths LIST   of attention, default 512,2048,8192 (quick: 512,2048)
  --tokens N       of the other operations, and of attention at least, default 2048
  --dtypes LIST    bfloat16, float32; default both`,
  own: {
    lengths: { type: 'string' },
    tokens: { type: 'string', default: '2048' },
    dtypes: { type: 'string', default: 'bfloat16,float32' },
  },
})
/** Minimum seconds of a timed run. */
const shortest = options.quick ? 0.01 : 0.05
/** Bytes; larger than any cache. */
const cacheBytes = 2 ** 28
/** Largest allowed difference of outputs and gradients, relative to the largest value. */
const tolerances = { bfloat16: 2 ** -7, float32: 1e-4 }

const { lengths, tokens, dtypes } = orUsageError(() => ({
  lengths: list(options.lengths ?? (options.quick ? '512,2048' : '512,2048,8192')).map((n) => whole('lengths', n, 1)),
  tokens: whole('tokens', options.tokens, 1),
  dtypes: dtypeList(options.dtypes),
}))
const machine = describeMachine(options.model, options)
const { config } = await ModelSource.open(options.model)
const device = openDevice({ device: 'cpu', threads: options.threads })
const folder = scratchFolder()
const documentsOf = (length) => Math.max(1, Math.floor(tokens / length))
writeInputs(folder, config, Math.max(...lengths.map((length) => documentsOf(length) * length)))

/** @type {import('./common/report.mjs').Line[]} */
const lines = []
/** @type {Set<string>} */
const notes = new Set()
const bandwidth = await copyBandwidth(device)
const peaks = {}
for (const dtype of dtypes) {
  const { hiddenSize, intermediateSize } = config
  const forms = await productPeaks(device, dtype, false, [tokens, hiddenSize, intermediateSize])
  peaks[dtype] = Math.max(...Object.values(forms))
  lines.push(...(await attentionLines(dtype)))
  for (const make of memoryCases(config, tokens, dtype, device)) lines.push(await memoryLine(make, dtype))
}
lines.push(await memoryLine(() => adamwCase(device), 'float32'))
const products = dtypes.map((dtype) => `${peaks[dtype].toFixed(0)} GFLOP/s in ${dtype}`).join(', ')
console.log(`\nProducts ${products}; memory ${bandwidth.toFixed(1)} GB/s`)
report({ benchmark: 'kernels', machine, options, lines, notes: [...notes], facts: { peaks, bandwidth } })

async function attentionLines(dtype) {
  const { heads, keyValueHeads, headSize } = config
  const task = { folder, heads, keyValueHeads, headSize, dtype, threads: options.threads }
  const processes = await pytorchSides('attention.py', task, options, notes, { bestOnly: true })
  const measured = []
  try {
    for (const length of lengths) measured.push(...(await attentionOf(length, dtype, processes)))
  } finally {
    await stopAll(processes)
  }
  return measured
}

async function attentionOf(length, dtype, processes) {
  const documents = documentsOf(length)
  const ours = new OurAttention(folder, config, documents, length, dtype, device)
  for (const side of processes) await side.ask({ task: 'prepare', documents, length })
  ours.forward()
  const measured = []
  for (const pass of ['forward', 'backward']) {
    const run = () => ours[pass]()
    const repeats = await repeatsOf(run)
    const sides = [
      { name: 'node-mora', run: () => repeated(run, repeats) },
      ...processes.map((side) => ({ name: side.name, run: () => side.ask({ task: pass, repeats }) })),
    ]
    const flops = attentionFlops(config, documents, length, pass === 'backward')
    const possible = flops / (peaks[dtype] * 1e9)
    const name = `attention ${pass}, ${documents} × ${length}, ${dtype}`
    measured.push(await lineOf(name, sides, { amount: flops / 1e9, unit: 'GFLOP/s', possible }))
  }
  const own = await ours.results()
  ours.dispose()
  for (const side of processes) {
    await side.ask({ task: 'write' })
    const agreements = await agreementsOf(own, readOutputs(folder), { documents, length, dtype })
    for (const { sides } of measured)
      for (const [i, agreement] of agreements.entries()) Object.assign(sides[i], agreement)
  }
  return measured
}

/**
 * In float32 the sides are compared with each other. In bfloat16 each is compared with float32's results of the same inputs;
 * PyTorch rounds the gradients of keys and values for each query head before it adds them, so it may be further off.
 */
async function agreementsOf(ours, theirs, { documents, length, dtype }) {
  const tolerance = tolerances[dtype]
  if (dtype === 'float32') return [{}, agreementOf(largestDifference(ours, theirs), tolerance)]
  const exact = new OurAttention(folder, config, documents, length, 'float32', device)
  exact.forward()
  exact.backward()
  const expected = await exact.results()
  exact.dispose()
  return [
    agreementOf(largestDifference(ours, expected), tolerance),
    agreementOf(largestDifference(theirs, expected), 4 * tolerance),
  ]
}

/** Each run uses another set of operands, so that they come from memory and not from a cache. */
async function memoryLine(make, dtype) {
  const sets = [make()]
  const { name, bytes } = sets[0]
  while (sets.length < 64 && sets.length * bytes < cacheBytes) sets.push(make())
  let turn = 0
  const run = () => sets[turn++ % sets.length].run()
  const repeats = Math.max(sets.length, await repeatsOf(run))
  const sides = [{ name: 'node-mora', run: () => repeated(run, repeats) }]
  const figures = { amount: bytes / 1e9, unit: 'GB/s', possible: bytes / 1e9 / bandwidth }
  const line = await lineOf(`${name}, ${dtype}`, sides, figures)
  for (const { dispose } of sets) dispose()
  return line
}

async function lineOf(name, sides, figures) {
  const results = await takeTurns(sides, options.rounds)
  return { name, ...figures, sides: timedSides(sides, results) }
}

async function repeatsOf(run) {
  await secondsOf(device, run)
  return Math.max(1, Math.ceil(shortest / (await secondsOf(device, run))))
}

async function repeated(run, repeats) {
  const seconds = await secondsOf(device, () => {
    for (let i = 0; i < repeats; i++) run()
  })
  return { seconds: seconds / repeats }
}
