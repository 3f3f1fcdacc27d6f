import { mebibytes, table } from '../common/table.mjs'

/** Losses must agree within this, relative: same weights, same tokens, only the rounding differs. */
const tolerances = { float32: 1e-4, bfloat16: 1e-2 }

/** How far apart two runs' losses get, relative, and whether that is within the dtype's rounding. */
export function lossDifference(ours, theirs, dtype) {
  const difference = Math.max(...ours.map((loss, i) => Math.abs(theirs[i] / loss - 1)))
  return { difference, agree: difference <= tolerances[dtype] }
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

export function stepsReport(cases, tokens) {
  const header = [
    'dtype',
    'method',
    'side',
    'step s',
    'least–most',
    'tokens/s',
    'faster by',
    'CPU s',
    'peak MiB',
    'loss',
    'agrees',
  ]
  const rows = cases.flatMap(({ dtype, method, sides }) =>
    sides.map(({ name, seconds, cpuSeconds, peakMemory, losses, comparison }, i) => [
      dtype,
      method.label,
      name,
      seconds.median.toFixed(2),
      `${seconds.least.toFixed(2)}–${seconds.most.toFixed(2)}`,
      (tokens / seconds.median).toFixed(0),
      i === 0 ? '-' : `${(seconds.median / sides[0].seconds.median).toFixed(2)}×`,
      cpuSeconds.toFixed(2),
      mebibytes(peakMemory),
      `${losses[0].toFixed(4)} → ${losses.at(-1).toFixed(4)}`,
      comparison ? `${comparison.agree ? 'yes' : 'NO'} (${comparison.difference.toExponential(1)})` : '-',
    ]),
  )
  return `A training step of ${tokens} tokens (forward, backward, clipping, AdamW)\n${table(header, rows)}`
}

export function boundReport(cases) {
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
  const rows = cases.map(({ dtype, method, sides, bound }) => [
    dtype,
    method.label,
    ...['products', 'adapters', 'attention', 'memory'].map((part) => bound.parts[part].toFixed(3)),
    bound.seconds.toFixed(2),
    sides[0].seconds.median.toFixed(2),
    `${((100 * bound.seconds) / sides[0].seconds.median).toFixed(0)}%`,
  ])
  return `The least time that these peaks allow (bench/training/bound.mjs has the formula)\n${table(header, rows)}`
}
