// The seven linear layers of a Llama-2-7B block, forward and backward at 4096 tokens in bfloat16, frozen and with MoRA
// beside them, and a merge; beside what bench/cuda-model.mjs predicted, where its JSON is given.
//   node bench/cuda/products.mjs [--predicted predicted.json] [--tiny] [--json FILE]
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { openDevice } from 'node-mora'
import { keep } from '../common/keep.mjs'
import { table } from '../common/table.mjs'
import { LinearLayers } from './linear-layers.mjs'
import { clocked, profiled, totalSeconds } from './timing.mjs'

const { values: options } = parseArgs({
  options: {
    predicted: { type: 'string' },
    tiny: { type: 'boolean' },
    quick: { type: 'boolean' },
    json: { type: 'string' },
  },
})
const device = openDevice({ device: 'cuda' })
const sizes = options.tiny
  ? { tokens: 8, hiddenSize: 64, intermediateSize: 96 }
  : { tokens: 4096, hiddenSize: 4096, intermediateSize: 11008 }
const ranks = options.tiny ? [2, 8] : [8, 256]
const adapters = ranks.flatMap((rank) => ['rotation', 'sharing'].map((operator) => ({ operator, rank })))
const repeats = options.tiny ? 1 : 10
const predictions = options.predicted ? JSON.parse(readFileSync(options.predicted, 'utf8')).blocks : []
const blocksOfModel = 32

const layers = new LinearLayers(device, sizes)
const frozen = await measure(null)
const cases = []
for (const adapter of options.quick ? adapters.slice(0, 2) : adapters) {
  const measured = await measure(adapter)
  const predicted = predictions.find(({ operator, rank }) => operator === adapter.operator && rank === adapter.rank)
  cases.push({
    label: `${adapter.operator} r=${adapter.rank}`,
    ...adapter,
    ...measured,
    addsPercent: 100 * (measured.seconds / frozen.seconds - 1),
    predictedAddsPercent: predicted?.adds ?? null,
    predictedMergeMilliseconds: predicted ? predicted.merge / 1000 : null,
  })
  keep(options.json, { sizes, repeats, frozen, cases })
}

const milliseconds = (seconds) => (seconds * 1000).toFixed(3)
const orNone = (value, digits) => (value === null || value === undefined ? '-' : value.toFixed(digits))
console.log(
  `\nLinear layers of a block, ${sizes.tokens} tokens: ms for forward and backward by the device's events and by the ` +
    `clock, and a merge of ${blocksOfModel} blocks\n${table(
      ['adapter', 'ms', 'by the clock', 'adds %', 'predicted %', 'merge ms', 'predicted ms'],
      [/** @type {any} */ ({ label: 'none', ...frozen }), ...cases].map((one) => [
        one.label,
        milliseconds(one.seconds),
        milliseconds(one.clock),
        orNone(one.addsPercent, 1),
        orNone(one.predictedAddsPercent, 1),
        one.merge ? milliseconds(one.merge) : '-',
        orNone(one.predictedMergeMilliseconds, 2),
      ]),
    )}`,
)

async function measure(adapter) {
  await layers.adapt(adapter)
  const operations = await profiled(device, () => layers.pass(), { repeats })
  const clock = await clocked(device, () => layers.pass(), repeats)
  const merge = adapter && totalSeconds(await profiled(device, () => layers.merge(), { repeats })) * blocksOfModel
  return { seconds: totalSeconds(operations), clock, merge, operations }
}
