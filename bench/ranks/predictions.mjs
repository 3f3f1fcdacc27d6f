// Predictions of the step model for large bases on many ranks, as tables and plots. All ranks are alike and joined by one ring.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { lineChart } from '../common/internals.mjs'
import { table } from '../common/table.mjs'
import { adapterParameters, bases, blockWeights, workOf } from './bases.mjs'
import { bucketsOf, efficiencyOf, leastBytes, stepTime, sumsOfStep } from './step-model.mjs'

/** `latency` in microseconds of a message, `tflops` of a rank, `rank` of the adapter, `bits` of a stored weight. */
export const defaults = {
  bases: Object.keys(bases),
  gigabits: [10, 100, 400],
  latency: 20,
  tflops: 400,
  rows: 4,
  length: 2048,
  rank: 16,
  bits: 4.5,
  most: 16384,
}

/** Predictions for each base and network, with and without `--shard base`: a point for 2, 4, 8, … ranks. */
export function predictionsOf(settings) {
  const counts = Array.from({ length: Math.floor(Math.log2(settings.most)) }, (_, i) => 2 ** (i + 1))
  return settings.bases.flatMap((base) =>
    [false, true].flatMap((shard) =>
      settings.gigabits.map((gigabits) => {
        const points = counts.map((ranks) => ({ ranks, ...predicted(settings, { base, gigabits, shard }, ranks) }))
        return { base, gigabits, shard, points }
      }),
    ),
  )
}

function predicted({ rows, length, rank, tflops, latency, bits }, { base: name, gigabits, shard }, ranks) {
  const base = bases[name]
  const each = (bytes) => new Array(base.layers).fill(bytes)
  const what = {
    work: workOf(base, { lengths: new Array(rows).fill(length), rank, rate: tflops * 1e12 }),
    buckets: bucketsOf(each(4 * adapterParameters(base, rank)), leastBytes),
    network: { ranks, latency: latency / 1e6, bandwidth: (gigabits * 1e9) / 8 },
    sums: sumsOfStep,
    ...(shard && { shard: each((blockWeights(base) * bits) / 8) }),
  }
  const efficiency = efficiencyOf(what)
  const { seconds, sending, exposed } = stepTime(what)
  return { efficiency, seconds, alone: efficiency * seconds, sending, exposed }
}

const nameOf = ({ gigabits, shard }) => `${gigabits} Gb/s${shard ? ', --shard base' : ''}`

/** Returns the assumptions, and a table for each base. */
export function tablesOf(settings, predictions) {
  const { rows, length, tflops, rank, latency, bits } = settings
  const assumed =
    `Predicted, not measured: ${rows} × ${length} tokens on each rank at ${tflops} TFLOP/s, an adapter of rank ${rank}, ` +
    `${latency} µs a message, weights of ${bits} bits.`
  const tables = settings.bases.map((base) => {
    const own = predictions.filter((one) => one.base === base)
    const [{ points }] = own
    const lines = own.map((one) => [nameOf(one), ...one.points.map(({ efficiency }) => percent(efficiency))])
    const heading = `${base}, a step of ${points[0].alone.toFixed(2)} s alone: efficiency with so many ranks`
    return `${heading}\n${table(['', ...points.map(({ ranks }) => ranks)], lines)}`
  })
  return [assumed, ...tables].join('\n\n')
}

const percent = (share) => `${(100 * share).toFixed(share < 0.095 ? 1 : 0)}%`

/** Writes an SVG of each base into a folder. */
export function writePlots(folder, { bases: names, rows, length }, predictions) {
  mkdirSync(folder, { recursive: true })
  for (const base of names) {
    const own = predictions.filter((one) => one.base === base)
    const chart = lineChart({
      title: `Predicted efficiency of ranks, ${base}, ${rows} × ${length} tokens each`,
      xLabel: 'ranks, as a power of 2',
      yLabel: 'efficiency',
      series: own.map((one) => ({
        name: nameOf(one),
        points: one.points.map(({ ranks, efficiency }) => ({ x: Math.log2(ranks), y: efficiency })),
      })),
    })
    writeFileSync(join(folder, `efficiency-${base}.svg`), chart)
  }
}
