import { native } from '../../../lib/native/addon.js'
import { type OperationCase, operationCase } from '../harness.js'
import { Host, sum } from '../host.js'
import { sizes } from './layers.js'

const epsilon = 1e-5

/** Shapes with the offset of the weight: rows, and heads of tokens. */
const rmsNorms = [
  ...sizes.map((shape) => ({ shape, weightOffset: 0 })),
  ...[
    [3, 5],
    [5, 3, 6],
    [0, 2, 8],
    [2, 2, 1],
    [130, 3, 96],
  ].map((shape) => ({ shape, weightOffset: 1 })),
].map(({ shape, weightOffset }) => {
  const name = `[${shape.join(', ')}]${weightOffset ? ' of 1 + weight' : ''}`
  return { shape, weightOffset, width: shape.at(-1)!, rowShape: shape.slice(0, -1), name }
})

/** The array as rows of its last dimension, for references that ignore the number of other dimensions. */
const asRows = (x: Host): Host => new Host([x.shape.slice(0, -1).reduce((a, b) => a * b, 1), x.shape.at(-1)!], x.values)

/** The array of `like`'s shape whose element in row t and column j is of(t, j). */
const byRows = (like: Host, of: (t: number, j: number) => number): Host =>
  new Host(like.shape, Host.of(asRows(like).shape, of).values)

/** 1 / sqrt(mean of the squares + epsilon) of each row. */
const rstdOf = (x: Host): Host => {
  const rows = asRows(x)
  const [count, width] = rows.shape as [number, number]
  return Host.of([count], (t) => 1 / Math.sqrt(sum(width, (j) => rows.at(t, j) ** 2) / width + epsilon))
}

const normalised = (x: Host, rstd: Host, weight: Host, weightOffset: number): Host => {
  const rows = asRows(x)
  return byRows(x, (t, j) => rows.at(t, j) * rstd.values[t]! * (weightOffset + weight.at(j)))
}

const rmsNorm = rmsNorms.flatMap(({ shape, weightOffset, width, rowShape, name }) => [
  operationCase({
    name: `rmsNorm ${name}`,
    operands: {
      x: { shape, dtype: 'activation' },
      weight: { shape: [width], dtype: 'float32' },
      y: { shape, dtype: 'activation', role: 'out' },
      rstd: { shape: rowShape, dtype: 'float32', role: 'out', layouts: 'dense' },
    },
    call: ({ x, weight, y, rstd }) => native.rmsNorm({ x, weight, weightOffset, epsilon, y, rstd }),
    reference: ({ x, weight }) => {
      const rstd = rstdOf(x)
      return { rstd: new Host(rowShape, rstd.values), y: normalised(x, rstd, weight, weightOffset) }
    },
  }),
  operationCase({
    name: `rmsNorm ${name} in place, without rstd`,
    operands: {
      x: { shape, dtype: 'activation', role: 'inout' },
      weight: { shape: [width], dtype: 'float32' },
    },
    call: ({ x, weight }) => native.rmsNorm({ x, weight, weightOffset, epsilon, y: x }),
    reference: ({ x, weight }) => ({ x: normalised(x, rstdOf(x), weight, weightOffset) }),
  }),
  operationCase({
    name: `rmsNorm ${name} after a residual, without rstd`,
    operands: {
      x: { shape, dtype: 'activation', role: 'inout' },
      residual: { shape, dtype: 'activation' },
      weight: { shape: [width], dtype: 'float32' },
      y: { shape, dtype: 'activation', role: 'out' },
    },
    // In bfloat16 the norm is of the sum as stored or as added: a rounding of x apart.
    slack: { bfloat16: 2 ** -8 },
    call: ({ x, residual, weight, y }) => native.rmsNorm({ x, residual, weight, weightOffset, epsilon, y }),
    reference: ({ x, residual, weight }) => {
      const added = new Host(
        shape,
        x.values.map((value, i) => value + residual.values[i]!),
      )
      return { x: added, y: normalised(added, rstdOf(added), weight, weightOffset) }
    },
  }),
])

const rmsNormOfRstdOnly = operationCase({
  name: 'rmsNorm of which only rstd is wanted',
  operands: {
    x: { shape: [5, 17], dtype: 'activation' },
    weight: { shape: [17], dtype: 'float32' },
    rstd: { shape: [5], dtype: 'float32', role: 'out' },
  },
  call: ({ x, weight, rstd }) => native.rmsNorm({ x, weight, weightOffset: 0, epsilon, rstd }),
  reference: ({ x }) => ({ rstd: rstdOf(x) }),
})

const positive = (random: { uniform(): number }) => 0.25 + random.uniform()

const rmsNormApply = rmsNorms.map(({ shape, weightOffset, width, rowShape, name }) =>
  operationCase({
    name: `rmsNormApply ${name}`,
    operands: {
      x: { shape, dtype: 'activation' },
      weight: { shape: [width], dtype: 'float32' },
      rstd: { shape: rowShape, dtype: 'float32', values: positive, layouts: 'dense' },
      y: { shape, dtype: 'activation', role: 'out' },
    },
    call: ({ x, weight, rstd, y }) => native.rmsNormApply(x, weight, weightOffset, rstd, y),
    reference: ({ x, weight, rstd }) => ({ y: normalised(x, rstd, weight, weightOffset) }),
  }),
)

const rmsNormBackward = rmsNorms.flatMap(({ shape, weightOffset, width, rowShape, name }) =>
  [false, true].map((accumulate) =>
    operationCase({
      name: `rmsNormBackward ${name}${accumulate ? ', added, without dWeight' : ''}`,
      operands: {
        dY: { shape, dtype: 'activation' },
        x: { shape, dtype: 'activation' },
        weight: { shape: [width], dtype: 'float32' },
        rstd: { shape: rowShape, dtype: 'float32', values: positive, layouts: 'dense' },
        dX: { shape, dtype: 'activation', role: accumulate ? 'inout' : 'out' },
        dWeight: { shape: [width], dtype: 'float32', role: 'inout' },
      },
      slack: { float32: 1e-5, bfloat16: 1e-5 },
      call: ({ dY, x, weight, rstd, dX, dWeight }) =>
        native.rmsNormBackward({
          dY,
          x,
          weight,
          weightOffset,
          rstd,
          dX,
          accumulate,
          dWeight: accumulate ? null : dWeight,
        }),
      // With n = x rstd and g = (offset + w) dY: dX = rstd (g - n mean(g n)), dWeight = Σ over rows of dY n.
      reference: ({ dY, x, weight, rstd, dX, dWeight }) => {
        const [gradients, values, before] = [asRows(dY), asRows(x), asRows(dX)]
        const normed = byRows(values, (t, j) => values.at(t, j) * rstd.values[t]!)
        const inner = byRows(values, (t, j) => (weightOffset + weight.at(j)) * gradients.at(t, j))
        const tokens = values.shape[0]!
        const mean = Host.of([tokens], (t) => sum(width, (j) => inner.at(t, j) * normed.at(t, j)) / width)
        return {
          dX: byRows(dX, (t, j) => {
            const gradient = rstd.values[t]! * (inner.at(t, j) - normed.at(t, j) * mean.at(t))
            return gradient + (accumulate ? before.at(t, j) : 0)
          }),
          dWeight: Host.of(
            [width],
            (j) => dWeight.at(j) + (accumulate ? 0 : sum(tokens, (t) => gradients.at(t, j) * normed.at(t, j))),
          ),
        }
      },
    }),
  ),
)

/** Mean and 1 / sqrt(variance + epsilon) of each row. */
const statisticsOf = (x: Host): { mean: Host; rstd: Host } => {
  const [tokens, width] = x.shape as [number, number]
  const mean = Host.of([tokens], (t) => sum(width, (j) => x.at(t, j)) / width)
  const variance = (t: number) => sum(width, (j) => (x.at(t, j) - mean.at(t)) ** 2) / width
  return { mean, rstd: Host.of([tokens], (t) => 1 / Math.sqrt(variance(t) + epsilon)) }
}

/** Far from zero, as deep layers' activations may be: sums of squares would lose the variance. */
const offCentre = (random: { normal(): number }) => 20 + random.normal()

// A variance beside 20²: float32 and bfloat16 inputs are exact, the mean is good to a unit of 20.
const layerNormSlack = { float32: 2e-5, bfloat16: 2e-5 }

const layerNorm = sizes.flatMap(([tokens, width]) =>
  [false, true].map((withBias) =>
    operationCase({
      name: `layerNorm [${tokens}, ${width}]${withBias ? '' : ', without bias'}`,
      operands: {
        x: { shape: [tokens, width], dtype: 'activation', values: offCentre },
        weight: { shape: [width], dtype: 'float32' },
        bias: { shape: [width], dtype: 'float32' },
        y: { shape: [tokens, width], dtype: 'activation', role: 'out' },
        mean: { shape: [tokens], dtype: 'float32', role: 'out' },
        rstd: { shape: [tokens], dtype: 'float32', role: 'out' },
      },
      slack: layerNormSlack,
      call: ({ x, weight, bias, y, mean, rstd }) =>
        native.layerNorm({ x, weight, bias: withBias ? bias : null, epsilon, y, mean, rstd }),
      reference: ({ x, weight, bias }) => {
        const { mean, rstd } = statisticsOf(x)
        const y = byRows(x, (t, j) => {
          return (x.at(t, j) - mean.at(t)) * rstd.at(t) * weight.at(j) + (withBias ? bias.at(j) : 0)
        })
        return { mean, rstd, y }
      },
    }),
  ),
)

const layerNormApply = sizes.flatMap(([tokens, width]) =>
  [false, true].map((withBias) =>
    operationCase({
      name: `layerNormApply [${tokens}, ${width}]${withBias ? '' : ', without bias'}`,
      operands: {
        x: { shape: [tokens, width], dtype: 'activation' },
        weight: { shape: [width], dtype: 'float32' },
        bias: { shape: [width], dtype: 'float32' },
        mean: { shape: [tokens], dtype: 'float32' },
        rstd: { shape: [tokens], dtype: 'float32', values: positive },
        y: { shape: [tokens, width], dtype: 'activation', role: 'out' },
      },
      call: ({ x, weight, bias, mean, rstd, y }) =>
        native.layerNormApply({ x, weight, bias: withBias ? bias : null, mean, rstd, y }),
      reference: ({ x, weight, bias, mean, rstd }) => ({
        y: byRows(x, (t, j) => (x.at(t, j) - mean.at(t)) * rstd.at(t) * weight.at(j) + (withBias ? bias.at(j) : 0)),
      }),
    }),
  ),
)

const layerNormBackward = sizes.flatMap(([tokens, width]) =>
  [false, true].map((accumulate) =>
    operationCase({
      name: `layerNormBackward [${tokens}, ${width}]${accumulate ? ', added, of x alone' : ''}`,
      operands: {
        dY: { shape: [tokens, width], dtype: 'activation' },
        x: { shape: [tokens, width], dtype: 'activation' },
        weight: { shape: [width], dtype: 'float32' },
        mean: { shape: [tokens], dtype: 'float32' },
        rstd: { shape: [tokens], dtype: 'float32', values: positive },
        dX: { shape: [tokens, width], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
        dWeight: { shape: [width], dtype: 'float32', role: 'inout' },
        dBias: { shape: [width], dtype: 'float32', role: 'inout' },
      },
      slack: { float32: 1e-5, bfloat16: 1e-5 },
      call: ({ dY, x, weight, mean, rstd, dX, dWeight, dBias }) => {
        const [toWeight, toBias] = accumulate ? [null, null] : [dWeight, dBias]
        native.layerNormBackward({ dY, x, weight, mean, rstd, dX, accumulate, dWeight: toWeight, dBias: toBias })
      },
      // With n = (x - mean) rstd and g = w dY: dX = rstd (g - mean(g) - n mean(g n)), dWeight = Σ dY n, dBias = Σ dY.
      reference: ({ dY, x, weight, mean, rstd, dX, dWeight, dBias }) => {
        const normed = byRows(x, (t, j) => (x.at(t, j) - mean.at(t)) * rstd.at(t))
        const inner = byRows(x, (t, j) => weight.at(j) * dY.at(t, j))
        const average = Host.of([tokens], (t) => sum(width, (j) => inner.at(t, j)) / width)
        const slope = Host.of([tokens], (t) => sum(width, (j) => inner.at(t, j) * normed.at(t, j)) / width)
        const added = (before: Host, of: (t: number, j: number) => number) =>
          Host.of([width], (j) => before.at(j) + (accumulate ? 0 : sum(tokens, (t) => of(t, j))))
        return {
          dX: byRows(x, (t, j) => {
            const gradient = rstd.at(t) * (inner.at(t, j) - average.at(t) - normed.at(t, j) * slope.at(t))
            return gradient + (accumulate ? dX.at(t, j) : 0)
          }),
          dWeight: added(dWeight, (t, j) => dY.at(t, j) * normed.at(t, j)),
          dBias: added(dBias, (t, j) => dY.at(t, j)),
        }
      },
    }),
  ),
)

type Norms = 'rmsNorm' | 'rmsNormApply' | 'rmsNormBackward' | 'layerNorm' | 'layerNormApply' | 'layerNormBackward'
export const norms: Record<Norms, OperationCase[]> = {
  rmsNorm: [...rmsNorm, rmsNormOfRstdOnly],
  rmsNormApply,
  rmsNormBackward,
  layerNorm,
  layerNormApply,
  layerNormBackward,
}
