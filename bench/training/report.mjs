import { agreementOf } from '../common/report.mjs'
import { mebibytes, table } from '../common/table.mjs'

/** Largest allowed relative difference of losses: in bfloat16 one rounding of its 8 bits. */
const tolerances = { float32: 1e-4, bfloat16: 2 ** -9 }

/**
 * Compares two runs' losses by their largest relative difference, as `agreementOf` does. In bfloat16 that is the loss before
 * the first update: later ones differ, because PyTorch rounds W x before it adds the adapter's part, which swallows small
 * updates. Float32 shows whether both train alike.
 */
export function lossAgreement(ours, theirs, dtype) {
  const steps = dtype === 'bfloat16' ? 1 : Math.min(ours.length, theirs.length)
  const difference = Math.max(...ours.slice(0, steps).map((loss, i) => Math.abs(theirs[i] / loss - 1)))
  return agreementOf(difference, tolerances[dtype])
}

export function peaksReport(peaks, products) {
  const dtypes = Object.keys(peaks)
  const header = [
    'product',
    'rows',
    'in',
    'out',
    ...dtypes.flatMap((dtype) => ['forward', 'dX', 'dW'].map((f) => `${dtype} ${f}`)),
  ]
  const rows = products.map(({ name, rows: count, inFeatures, outFeatures }) => {
    const figures = dtypes.flatMap((dtype) => {
      const { forward, dX, dW } = peaks[dtype].products[name]
      return [forward, dX, dW].map((value) => value.toFixed(0))
    })
    return [name, count, inFeatures, outFeatures, ...figures]
  })
  const bandwidth = Math.max(...dtypes.map((dtype) => peaks[dtype].bandwidth))
  return `This machine, GFLOP/s of products at the model's shapes; memory ${bandwidth.toFixed(1)} GB/s\n${table(header, rows)}`
}

export function agreementReport(agreements) {
  const rows = agreements.map(({ method, losses, comparison }) => [
    method.label,
    losses.map((loss) => loss.toFixed(5)).join(' → '),
    comparison.difference.toExponential(1),
    comparison.agrees ? 'yes' : 'NO',
  ])
  return `The same arithmetic: losses of ours and PyTorch's in float32, on 64 tokens with large updates\n${table(
    ['method', 'loss', 'apart', 'agrees'],
    rows,
  )}`
}

/** Compares our methods with the first of them. */
export function ownReport(contests, tokens) {
  const rows = contests.flatMap(({ dtype, sides }) =>
    sides.map((side) => [
      dtype,
      side.name,
      ...timeCells(side, tokens),
      `${(side.seconds.median / sides[0].seconds.median).toFixed(2)}×`,
    ]),
  )
  return `Our methods, steps taken in turn\n${table(['dtype', 'method', ...timeHeader, 'time to first'], rows)}`
}

/** Compares methods with PyTorch's, pair by pair. */
export function pytorchReport(cases, tokens) {
  const header = ['dtype', 'method', 'side', ...timeHeader, 'node-mora is faster by', 'loss', 'apart', 'agrees']
  const rows = cases.flatMap(({ dtype, method, sides }) =>
    sides.map((side, i) => [
      dtype,
      method.label,
      side.name,
      ...timeCells(side, tokens),
      i === 0 ? '-' : `${(side.seconds.median / sides[0].seconds.median).toFixed(2)}×`,
      `${side.losses[0].toFixed(4)} → ${side.losses.at(-1).toFixed(4)}`,
      side.comparison?.difference.toExponential(0) ?? '-',
      side.comparison ? (side.comparison.agrees ? 'yes' : 'NO') : '-',
    ]),
  )
  return `Against PyTorch: a step of ${tokens} tokens (forward, backward, clipping, AdamW), taken in turn\n${table(header, rows)}`
}

/** The best that PyTorch reached with each method. */
export function fastestReport(cases) {
  const fastest = new Map()
  for (const { dtype, method, sides } of cases) {
    const key = `${dtype}, ${method.label}`
    const ratio = sides[1].seconds.median / sides[0].seconds.median
    if (!(fastest.get(key)?.ratio <= ratio)) fastest.set(key, { dtype, method, name: sides[1].name, ratio })
  }
  const rows = [...fastest.values()].map(({ dtype, method, name, ratio }) => [
    dtype,
    method.label,
    name,
    `${ratio.toFixed(2)}×`,
  ])
  return `Against the fastest of PyTorch\n${table(['dtype', 'method', 'fastest', 'node-mora is faster by'], rows)}`
}

const timeHeader = ['step s', 'least–most', 'steps', 'tokens/s', 'CPU s', 'peak MiB']
const timeCells = ({ seconds, cpuSeconds, peakMemory }, tokens) => [
  seconds.median.toFixed(2),
  `${seconds.least.toFixed(2)}–${seconds.most.toFixed(2)}`,
  seconds.all.length,
  (tokens / seconds.median).toFixed(0),
  cpuSeconds.toFixed(2),
  mebibytes(peakMemory),
]

/** Our own contest's share of it. */
export function boundReport(contests) {
  const header = [
    'dtype',
    'method',
    'products s',
    'adapters s',
    'attention s',
    'memory s',
    'possible s',
    'ours s',
    'achieved',
  ]
  const rows = contests.flatMap(({ dtype, sides }) =>
    sides.map(({ name, seconds, bound }) => [
      dtype,
      name,
      ...['products', 'adapters', 'attention', 'memory'].map((part) => bound.parts[part].toFixed(3)),
      bound.seconds.toFixed(2),
      seconds.median.toFixed(2),
      `${((100 * bound.seconds) / seconds.median).toFixed(0)}%`,
    ]),
  )
  return `The least time that these peaks allow (bench/training/bound.mjs has the formula)\n${table(header, rows)}`
}

/** The lines that bench/diff.mjs compares; see common/report.mjs. */
export function trainingLines(own, cases, tokens) {
  const line = (name, sides, possible) => ({ name, amount: tokens, unit: 'tokens/s', possible, sides })
  return [
    ...own.flatMap(({ dtype, sides }) =>
      sides.map(({ name, seconds, bound }) =>
        line(`${dtype}, ${name}`, [{ name: 'node-mora', seconds }], bound.seconds),
      ),
    ),
    ...cases.map(({ dtype, method, sides }) =>
      line(
        `${dtype}, ${method.label}, against ${sides[1].name}`,
        sides.map(({ name, seconds, comparison }) => ({ name, seconds, agrees: comparison?.agrees })),
      ),
    ),
  ]
}
