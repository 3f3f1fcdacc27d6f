// How fast an adapter is added to every layer of a model, against memory bandwidth, and a model on disk is merged into
// another, against copying it; PyTorch beside both, by a dense ΔW of each layer:
//   npm run bench -- merge [--methods lora:8,rotation:8,sharing:8] [--dtypes bfloat16]
import { copyFile, mkdir, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { loadModel, mergeModel, Tensor } from 'node-mora'
import { keep } from 'node-mora/adapters'
import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { adapterConfig, parseMethod } from './common/methods.mjs'
import { copyModel } from './common/model-copy.mjs'
import { dtypeList, list, readOptions } from './common/options.mjs'
import { copyBandwidth } from './common/peaks.mjs'
import { pytorchMethods, pytorchSides, stopAll } from './common/pytorch.mjs'
import { fillNormal } from './common/random.mjs'
import { agreementOf, report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { secondsOf, spread, takeTurns, timedSides } from './common/turns.mjs'

const options = readOptions({
  usage: `node bench/merge.mjs [MODEL] [options]: adding an adapter to the weights of every linear layer.

  --methods LIST   lora:RANK, rotation:RANK, sharing:RANK; default lora:8,rotation:8,sharing:8
  --dtypes LIST    of the weights: bfloat16, float32; default bfloat16`,
  own: {
    methods: { type: 'string', default: 'lora:8,rotation:8,sharing:8' },
    dtypes: { type: 'string', default: 'bfloat16' },
  },
})
const { threads } = options
const methods = orUsageError(() => list(options.methods).map(parseMethod))
const dtypes = orUsageError(() => dtypeList(options.dtypes))
const machine = describeMachine(options.model, options)
/** Largest allowed difference of merged weights, relative to the largest: a rounding of their dtype. */
const tolerances = { bfloat16: 2 ** -7, float32: 1e-6 }

const folder = scratchFolder()
/** @type {import('./common/report.mjs').Line[]} */
const lines = []
/** @type {Set<string>} */
const notes = new Set()
let bandwidth = 0
for (const dtype of dtypes) {
  // Both sides read the same rounded weights.
  const copy = join(folder, dtype)
  const { device } = await copyModel(options.model, copy, { dtype, threads })
  bandwidth = Math.max(bandwidth, await copyBandwidth(device))
  device.trim()
  for (const method of methods) lines.push(...(await measure(copy, method, dtype)))
}
console.log(`\nMemory ${bandwidth.toFixed(1)} GB/s, bytes read and bytes written`)
report({ benchmark: 'merge', machine, options, lines, notes: [...notes], facts: { bandwidth } })

async function measure(copy, method, dtype) {
  const model = await loadModel(copy, { device: 'cpu', dtype, threads })
  const adapter = join(folder, `${dtype}-${method.name}-${method.rank}`)
  await saveRandomAdapter(model, method, adapter)
  const task = { model: copy, adapter, operator: method.name, dtype, threads }
  const both = pytorchMethods.includes(method.name)
  const processes = both ? await pytorchSides('merge.py', task, options, notes) : []
  try {
    const what = `${method.label}, ${dtype}`
    const merging = await mergeLine(`merging ${what}`, model, processes)
    await agreementOn(merging, model, processes, dtype)
    return [merging, await filesLine(`load, merge, save ${what}`, { copy, adapter, dtype }, processes)]
  } finally {
    await stopAll(processes)
    model.dispose()
  }
}

/** Adds an adapter whose ΔW is about as large as the weights; it stays in the model. */
async function saveRandomAdapter(model, method, path) {
  await model.addAdapter('merged', adapterConfig(method), { seed: 1 })
  for (const { parameter } of model.trainableParameters()) {
    fillNormal(parameter, 0.1)
    parameter.version++
  }
  await model.saveAdapter('merged', path)
}

/** In memory: each weight is read and written once. */
async function mergeLine(name, model, processes) {
  const { device } = model
  const layers = model
    .linears()
    .flatMap((linear) =>
      linear.activeAdapters().map(({ layer }) => ({ layer, weight: model.slot(`${linear.name}.weight`).own.floats })),
    )
  const bytes = layers.reduce((sum, { weight }) => sum + 2 * weight.elements * (weight.dtype === 'float32' ? 4 : 2), 0)
  const nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' }))
  const sides = [
    {
      name: 'node-mora',
      run: async () => {
        const seconds = await secondsOf(device, () => model.mergeAdapter('merged'))
        await model.unmergeAdapter('merged')
        return { seconds }
      },
    },
    {
      name: 'its operations alone',
      run: async () => ({
        seconds: await secondsOf(device, () => {
          for (const { layer, weight } of layers) layer.mergeInto(weight, 1, nonFinite)
        }),
      }),
    },
    ...processes.map((side) => ({ name: side.name, run: () => side.ask({ task: 'merge' }) })),
  ]
  const results = await takeTurns(sides, options.rounds)
  nonFinite.dispose()
  return lineOf(name, sides, results, bytes, bytes / 1e9 / bandwidth)
}

/** Merges files into files; the bound is a copy of the weights. */
async function filesLine(name, { copy, adapter, dtype }, processes) {
  const output = join(folder, 'merged')
  const sides = [
    {
      name: 'node-mora',
      run: async () => {
        const start = performance.now()
        await mergeModel({ model: copy, adapter, output, dtype, device: 'cpu', threads, overwrite: true })
        return { seconds: (performance.now() - start) / 1000 }
      },
    },
    ...processes.map((side) => ({
      name: side.name,
      run: () => side.ask({ task: 'files', output: join(folder, 'pytorch.safetensors') }),
    })),
    { name: 'copy', run: () => syncedCopy(copy, join(folder, 'copied')) },
  ]
  const results = await takeTurns(sides, options.rounds)
  const copied = spread(results.pop().map(({ seconds }) => seconds)).median
  return lineOf(name, sides.slice(0, -1), results, undefined, copied)
}

/** Copies a model's weights and syncs them to the disk. */
async function syncedCopy(from, to) {
  await mkdir(to, { recursive: true })
  const names = (await readdir(from)).filter((name) => name.endsWith('.safetensors'))
  const start = performance.now()
  for (const name of names) {
    await copyFile(join(from, name), join(to, name))
    const file = await open(join(to, name), 'r+')
    await file.sync()
    await file.close()
  }
  return { seconds: (performance.now() - start) / 1000 }
}

function lineOf(name, sides, results, bytes, possible) {
  return { name, ...(bytes && { amount: bytes / 1e9, unit: 'GB/s' }), possible, sides: timedSides(sides, results) }
}

/** Compares every merged weight of ours with PyTorch's. */
async function agreementOn(line, model, processes, dtype) {
  if (processes.length === 0) return
  const saved = join(folder, 'compared')
  await model.mergeAdapter('merged')
  await model.save(saved, { dtype, overwrite: true })
  await model.unmergeAdapter('merged')
  for (const side of processes) {
    await side.ask({ task: 'merge' })
    const { apart } = await side.ask({ task: 'compare', folder: saved })
    Object.assign(
      line.sides.find(({ name }) => name === side.name),
      agreementOf(apart, tolerances[dtype]),
    )
  }
}
