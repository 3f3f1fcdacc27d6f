import { mebibytes, table } from '../common/table.mjs'

/**
 * How far losses may be apart, relative: `start` before any update, `run` after a few small ones. The second is wide in
 * bfloat16 because PyTorch rounds W x to bfloat16 before it adds the adapter's part, so that small updates are lost there;
 * here the sum is rounded once.
 */
const tolerances = { float32: { start: 1e-4, run: 1e-4 }, bfloat16: { start: 5e-3, run: 5e-2 } }

/** The largest relative differences of two runs' losses, and whether rounding explains them. */
export function lossDifference(ours, theirs, dtype) {
  const [start, ...run] = ours.map((loss, i) => Math.abs(theirs[i] / loss - 1))
  const difference = Math.max(start, ...run)
  const { start: startLimit, run: runLimit } = tolerances[dtype]
  return { start, difference, agree: start <= startLimit && difference <= runLimit }
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
    'agrees (start, run)',
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
      comparison
        ? `${comparison.agree ? 'yes' : 'NO'} (${comparison.start.toExponential(0)}, ${comparison.difference.toExponential(0)})`
        : '-',
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
