// How fast rows of a data file train, packed as node-mora packs them, against PyTorch with padded and with packed batches of
// the same rows:
//   npm run bench -- rows [--data FILE] [--batch-size 8] [--steps 3] [--by-length]
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AdamW, loadDataset, loadModel, packBatch } from 'node-mora'
import { orUsageError } from './common/command-line.mjs'
import { saveFreshAdapter } from './common/fresh-adapter.mjs'
import { planMicroBatches, tokenBudget } from './common/internals.mjs'
import { describeMachine } from './common/machine.mjs'
import { parseMethod } from './common/methods.mjs'
import { copyModel } from './common/model-copy.mjs'
import { dtypeOf, readOptions, whole } from './common/options.mjs'
import { measurePeaks } from './common/peaks.mjs'
import { pytorchMethods, startPytorch, stopAll } from './common/pytorch.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { trainStep } from './common/train-step.mjs'
import { takeTurns, timedSides } from './common/turns.mjs'
import { boundOf } from './training/bound.mjs'
import { productsOf } from './training/model-sizes.mjs'
import { lossAgreement } from './training/report.mjs'

const learningRate = 2e-5
const options = readOptions({
  usage: `node bench/rows.mjs [MODEL] [options]: training on rows of a data file, useful tokens (those of rows) per second.

  --data FILE      rows; default $MORA_TEST_ASSETS/data/gsm-symbolic/train.jsonl, else examples/facts.jsonl
  --batch-size N   rows of a step, default 8; --steps N: steps of a run, the same in each, default 3
  --by-length      rows go into steps by their length, so that batches have fewer pads
  --method M       lora:RANK, rotation:RANK or sharing:RANK, default rotation:8
  --dtype D        bfloat16 or float32, default bfloat16`,
  own: {
    data: { type: 'string' },
    'batch-size': { type: 'string', default: '8' },
    steps: { type: 'string', default: '3' },
    'by-length': { type: 'boolean', default: false },
    method: { type: 'string', default: 'rotation:8' },
    dtype: { type: 'string', default: 'bfloat16' },
  },
})
const { threads } = options
const { method, dtype, batchSize, stepCount } = orUsageError(() => ({
  method: parseMethod(options.method),
  dtype: dtypeOf('dtype', options.dtype),
  batchSize: whole('batch-size', options['batch-size'], 1),
  stepCount: whole('steps', options.steps, 1),
}))
const machine = describeMachine(`${options.model}, ${stepCount} × ${batchSize} rows of ${dataFile()}`, options)

const folder = scratchFolder()
const [copy, adapter, rowFile] = ['model', 'adapter', 'rows.json'].map((name) => join(folder, name))
const { config, device } = await copyModel(options.model, copy, { dtype, threads })
const linears = await saveFreshAdapter(copy, adapter, method, { dtype, threads })
const model = await loadModel(copy, { device: 'cpu', dtype, threads })
await model.loadAdapter(adapter)
const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
const steps = await readSteps()
const documents = steps.flat(2)
const sizes = sizesOf(documents)
const padded = steps.reduce((sum, passes) => sum + batchSize * Math.max(...lengthsOf(passes.flat())), 0)
console.log(
  `${sizes.tokens} tokens, of which ${sizes.targets} are targets; padded ${padded} (${percent(sizes.tokens, padded)} useful)`,
)

const peaks = await measurePeaks(device, dtype, productsOf(config, ...Object.values(sizesOf(steps[0][0]))))
device.trim()
/** @type {Set<string>} */
const notes = new Set()
const processes = await pytorch()
try {
  const sides = [ours(), ...processes.map(theirs)]
  const results = await takeTurns(sides, options.rounds)
  const line = {
    name: `rows, ${method.label}, ${dtype}`,
    amount: sizes.tokens,
    unit: 'useful tokens/s',
    possible: bound(),
    sides: timedSides(sides, results).map((side, i) => ({
      ...side,
      ...(i > 0 && lossAgreement(sides[0].losses, sides[i].losses, dtype)),
    })),
  }
  const facts = { data: dataFile(), batchSize, steps: stepCount, ...sizes, padded }
  report({ benchmark: 'rows', machine, options, lines: [line], notes: [...notes], facts })
} finally {
  await stopAll(processes)
}

function dataFile() {
  const assets = join(process.env.MORA_TEST_ASSETS ?? '', 'data/gsm-symbolic/train.jsonl')
  return (
    options.data ?? (existsSync(assets) ? assets : fileURLToPath(new URL('../examples/facts.jsonl', import.meta.url)))
  )
}

/** The first rows as every side reads them: a list of steps, of forward passes, of rows. Writes them for PyTorch. */
async function readSteps() {
  const data = await loadDataset(dataFile(), { tokenizer: model.tokenizer, vocabularySize: config.vocabularySize })
  const count = stepCount * batchSize
  if (data.length < count) {
    console.error(`Expected ${count} rows or more in ${dataFile()} but it has ${data.length}.`)
    process.exit(2)
  }
  const chosen = Array.from({ length: count }, (_, i) => data.row(i).documents[0])
  if (options['by-length']) chosen.sort((a, b) => a.ids.length - b.ids.length)
  const budget = tokenBudget(model)
  const steps = Array.from({ length: stepCount }, (_, step) => {
    const rows = chosen.slice(step * batchSize, (step + 1) * batchSize).map((row, i) => ({ ...row, row: i }))
    return planMicroBatches(lengthsOf(rows), { tokenBudget: budget }).map((pass) => pass.map((i) => rows[i]))
  })
  const plain = ({ ids, mask }) => ({
    ids: [...ids],
    targets: Array.from(ids, (_, i) => (mask[i + 1] ? ids[i + 1] : -1)),
  })
  writeFileSync(rowFile, JSON.stringify(steps.map((passes) => passes.map((rows) => rows.map(plain)))))
  return steps
}

function ours() {
  const batches = steps.map((passes) => passes.map((rows) => packBatch(rows)))
  return runs('node-mora', async (step) => {
    const start = performance.now()
    const { loss } = await trainStep(model, optimizer, batches[step], learningRate)
    return { loss, seconds: (performance.now() - start) / 1000 }
  })
}

function theirs(side) {
  return runs(side.name, (step) => side.ask({ task: 'step', step }))
}

/** A side whose run takes all steps; `losses` collects those of all runs. */
function runs(name, takeStep) {
  const losses = []
  const run = async () => {
    let seconds = 0
    for (let step = 0; step < stepCount; step++) {
      const values = await takeStep(step)
      losses.push(values.loss)
      seconds += values.seconds
    }
    process.stderr.write(`  ${name}: ${seconds.toFixed(2)} s, loss ${losses.at(-1).toFixed(5)}\n`)
    return { seconds }
  }
  return { name, run, losses }
}

/** PyTorch in its best setting with either kind of batch, and with default settings padded. */
async function pytorch() {
  if (!options.pytorch || !pytorchMethods.includes(method.name)) return []
  const settings = [
    { name: 'PyTorch, best, padded', best: true, packed: false },
    { name: 'PyTorch, best, packed', best: true, packed: true },
    ...(options.quick ? [] : [{ name: 'PyTorch, padded', best: false, packed: false }]),
  ]
  const started = []
  for (const { name, best, packed } of settings) {
    const task = {
      model: copy,
      adapter,
      operator: method.name,
      data: rowFile,
      dtype,
      threads,
      learningRate,
      best,
      packed,
    }
    const side = await startPytorch(name, 'rows.py', task, options, notes, best)
    if (!side) continue
    notes.add(`${name}: attention "${side.facts.attention}".`)
    started.push(side)
  }
  return started
}

/** A lower bound of a run's seconds. */
function bound() {
  const { fastBfloat16 } = device.facts()
  return steps.flat().reduce((sum, rows) => {
    const { targets } = sizesOf(rows)
    const lengths = lengthsOf(rows)
    return sum + boundOf({ config, linears, method, lengths, targets, dtype, fastBfloat16, peaks }).seconds
  }, 0)
}

function lengthsOf(rows) {
  return rows.map(({ ids }) => ids.length)
}

function sizesOf(rows) {
  const sum = (values) => values.reduce((total, value) => total + value, 0)
  return { tokens: sum(lengthsOf(rows)), targets: sum(rows.map(({ mask }) => sum([...mask.subarray(1)]))) }
}

function percent(part, whole) {
  return `${((100 * part) / whole).toFixed(0)} %`
}
