// Our own training steps beside each other, in one process and in turn: MoRA beside LoRA of the same rank, one long document
// beside several short ones, one thread beside all, products in 8 bits beside those of the dtype:
//   npm run bench -- steps [--ranks 8,128] [--long 8192]
import { AdamW, loadModel } from 'node-mora'
import { packedBatch, textIds } from './common/batch.mjs'
import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { adapterConfig, parseMethod } from './common/methods.mjs'
import { list, readOptions, whole } from './common/options.mjs'
import { measurePeaks } from './common/peaks.mjs'
import { report } from './common/report.mjs'
import { stepOf, stepOptions } from './common/step-options.mjs'
import { table } from './common/table.mjs'
import { trainStep } from './common/train-step.mjs'
import { median, secondsOf, spread, takeTurns } from './common/turns.mjs'
import { boundOf } from './training/bound.mjs'
import { productsOf } from './training/model-sizes.mjs'

const options = readOptions({
  usage: `node bench/steps.mjs [MODEL] [options]: training steps of node-mora beside each other, taken in turn.

  --ranks LIST     of LoRA, rotation and sharing, default 8,128
  --method M       whose documents, threads and products are compared, default rotation:8
  --dtype D        bfloat16 or float32, default bfloat16
  --rows N         documents of a batch, default 4; --length N: tokens of each, default 512
  --long N         tokens of the one long document, default 8192`,
  own: {
    ranks: { type: 'string', default: '8,128' },
    ...stepOptions,
    long: { type: 'string', default: '8192' },
  },
})
const { method, dtype, rows, length } = stepOf(options)
const { ranks, long } = orUsageError(() => ({
  ranks: list(options.ranks).map((rank) => whole('ranks', rank, 1)),
  long: whole('long', options.long, 1),
}))
const machine = describeMachine(`${options.model}, ${dtype}`, options)
const model = await loadModel(options.model, { device: 'cpu', dtype, threads: options.threads })
const { device } = model
const threads = device.facts().threads
const usual = await shapeOf(rows, length)
const longest = await shapeOf(1, long)

const lines = []
const comparisons = []
for (const rank of ranks) {
  const contestants = ['lora', 'rotation', 'sharing'].map((name) => trainer(parseMethod(`${name}:${rank}`), usual))
  await compare(contestants, (own, first) => own / first)
}
const perToken = (own, first) => own / longest.tokens / (first / usual.tokens)
await compare([trainer(method, usual), trainer(method, longest)], perToken, ', each token')
const counts = [...new Set([threads, 1])]
await compare(
  counts.map((count) => trainer(method, usual, { count })),
  (own, first) => own / first,
)
device.setThreads(threads)
if (device.facts().int8Products) {
  /** @type {('auto' | 'int8')[]} */
  const computes = ['auto', 'int8']
  await compare(
    computes.map((compute) => trainer(method, usual, { compute })),
    (own, first) => own / first,
  )
}

const rowsOfTable = comparisons.map(({ name, time, arithmetic }) => [name, `${time.toFixed(3)}×`, arithmetic])
console.log(`\nBeside each other\n${table(['', 'time', 'by the arithmetic'], rowsOfTable)}`)
report({ benchmark: 'steps', machine, options, lines, facts: { dtype, comparisons } })
model.dispose()

/** A batch, and what the machine can do at its shapes. */
async function shapeOf(rows, length) {
  const tokens = rows * length
  const peaks = await measurePeaks(device, dtype, productsOf(model.config, tokens))
  device.trim()
  const batch = packedBatch(await textIds(model.tokenizer, rows, length), rows, length)
  return { name: `${rows} × ${length}`, tokens, batch, lengths: new Array(rows).fill(length), peaks }
}

/** A side of `takeTurns`. The model keeps an adapter of each method, which is active in its own steps only. */
function trainer(
  method,
  { name, tokens, batch, lengths, peaks },
  { count = threads, compute = /** @type {'auto' | 'int8'} */ ('auto') } = {},
) {
  const { label } = method
  const isNew = !model.adapters.has(label)
  if (isNew) model.addAdapter(label, adapterConfig(method), { seed: 1 })
  model.setActiveAdapters([label])
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  const { config } = model
  const { fastBfloat16 } = device.facts()
  const linears = model.linears()
  const bound = boundOf({ config, linears, method, lengths, dtype, fastBfloat16, peaks })
  const step = () => trainStep(model, optimizer, batch, 1e-5)
  return {
    name: [label, name, count === threads ? null : `${count} thread`, compute === 'auto' ? null : compute]
      .filter((part) => part !== null)
      .join(', '),
    tokens,
    // Peaks are those of all threads, and of the dtype.
    possible: count === threads && compute === 'auto' ? bound.seconds : undefined,
    run: async () => {
      model.setActiveAdapters([label])
      device.setThreads(count)
      model.compute = compute
      return await secondsOf(device, step)
    },
    dispose: () => optimizer.dispose(),
  }
}

/** Steps in turn: a line each, and each after the first beside the first, `ratio` of one round's seconds. */
async function compare(sides, ratio, what = '') {
  process.stderr.write(`${sides.map(({ name }) => name).join(' | ')} …\n`)
  const results = await takeTurns(sides, options.rounds)
  for (const [i, { name, tokens, possible, dispose }] of sides.entries()) {
    const seconds = spread(results[i])
    lines.push({ name, amount: tokens, unit: 'tokens/s', possible, sides: [{ name: 'node-mora', seconds }] })
    dispose()
    if (i === 0) continue
    const time = median(results[i].map((own, round) => ratio(own, results[0][round])))
    const arithmetic = possible ? `${ratio(possible, sides[0].possible).toFixed(3)}×` : '-'
    comparisons.push({ name: `${name} beside ${sides[0].name}${what}`, time, arithmetic })
  }
}
