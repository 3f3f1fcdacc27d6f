import { native } from '../../../lib/native.js'
import { philox4x32 } from '../../../lib/random.js'
import { type OperationCase, operationCase } from '../harness.js'
import { Host, sum } from '../host.js'

const sizes = [
  [1, 1],
  [3, 5],
  [7, 33],
  [2, 64],
  [0, 8],
  [259, 132],
] as const
const epsilon = 1e-5

/** 1 / sqrt(mean of the squares + epsilon) of each row. */
const rstdOf = (x: Host): Host => {
  const [tokens, width] = x.shape as [number, number]
  return Host.of([tokens], (t) => 1 / Math.sqrt(sum(width, (j) => x.at(t, j) ** 2) / width + epsilon))
}

const rmsNorm = sizes.flatMap(([tokens, width]) => [
  operationCase({
    name: `rmsNorm [${tokens}, ${width}]`,
    operands: {
      x: { shape: [tokens, width], dtype: 'activation' },
      weight: { shape: [width], dtype: 'float32' },
      y: { shape: [tokens, width], dtype: 'activation', role: 'out' },
      rstd: { shape: [tokens], dtype: 'float32', role: 'out' },
    },
    call: ({ x, weight, y, rstd }) => native.rmsNorm(x, null, weight, epsilon, y, rstd),
    reference: ({ x, weight }) => {
      const rstd = rstdOf(x)
      return { rstd, y: Host.of([tokens, width], (t, j) => x.at(t, j) * rstd.at(t) * weight.at(j)) }
    },
  }),
  operationCase({
    name: `rmsNorm [${tokens}, ${width}] after a residual, without rstd`,
    operands: {
      x: { shape: [tokens, width], dtype: 'activation', role: 'inout' },
      residual: { shape: [tokens, width], dtype: 'activation' },
      weight: { shape: [width], dtype: 'float32' },
      y: { shape: [tokens, width], dtype: 'activation', role: 'out' },
    },
    // In bfloat16 the norm is of the sum as stored or as added: a rounding of x apart.
    slack: { bfloat16: 2 ** -8 },
    call: ({ x, residual, weight, y }) => native.rmsNorm(x, residual, weight, epsilon, y, null),
    reference: ({ x, residual, weight }) => {
      const added = new Host(
        [tokens, width],
        x.values.map((value, i) => value + residual.values[i]!),
      )
      const rstd = rstdOf(added)
      return { x: added, y: Host.of([tokens, width], (t, j) => added.at(t, j) * rstd.at(t) * weight.at(j)) }
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
  call: ({ x, weight, rstd }) => native.rmsNorm(x, null, weight, epsilon, null, rstd),
  reference: ({ x }) => ({ rstd: rstdOf(x) }),
})

const positive = (random: { uniform(): number }) => 0.25 + random.uniform()

const rmsNormApply = sizes.map(([tokens, width]) =>
  operationCase({
    name: `rmsNormApply [${tokens}, ${width}]`,
    operands: {
      x: { shape: [tokens, width], dtype: 'activation' },
      weight: { shape: [width], dtype: 'float32' },
      rstd: { shape: [tokens], dtype: 'float32', values: positive },
      y: { shape: [tokens, width], dtype: 'activation', role: 'out' },
    },
    call: ({ x, weight, rstd, y }) => native.rmsNormApply(x, weight, rstd, y),
    reference: ({ x, weight, rstd }) => ({
      y: Host.of([tokens, width], (t, j) => x.at(t, j) * rstd.at(t) * weight.at(j)),
    }),
  }),
)

const rmsNormBackward = sizes.flatMap(([tokens, width]) =>
  [false, true].map((accumulate) =>
    operationCase({
      name: `rmsNormBackward [${tokens}, ${width}]${accumulate ? ', added, without dWeight' : ''}`,
      operands: {
        dY: { shape: [tokens, width], dtype: 'activation' },
        x: { shape: [tokens, width], dtype: 'activation' },
        weight: { shape: [width], dtype: 'float32' },
        rstd: { shape: [tokens], dtype: 'float32', values: positive },
        dX: { shape: [tokens, width], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
        dWeight: { shape: [width], dtype: 'float32', role: 'inout' },
      },
      slack: { float32: 1e-5, bfloat16: 1e-5 },
      call: ({ dY, x, weight, rstd, dX, dWeight }) =>
        native.rmsNormBackward(dY, x, weight, rstd, dX, accumulate, accumulate ? null : dWeight),
      // With n = x rstd: dX = rstd (w dY - n mean(w dY n)), dWeight = Σ over rows of dY n.
      reference: ({ dY, x, weight, rstd, dX, dWeight }) => {
        const normed = Host.of([tokens, width], (t, j) => x.at(t, j) * rstd.at(t))
        const inner = Host.of([tokens], (t) => sum(width, (j) => weight.at(j) * dY.at(t, j) * normed.at(t, j)) / width)
        return {
          dX: Host.of(
            [tokens, width],
            (t, j) =>
              rstd.at(t) * (weight.at(j) * dY.at(t, j) - normed.at(t, j) * inner.at(t)) +
              (accumulate ? dX.at(t, j) : 0),
          ),
          dWeight: Host.of(
            [width],
            (j) => dWeight.at(j) + (accumulate ? 0 : sum(tokens, (t) => dY.at(t, j) * normed.at(t, j))),
          ),
        }
      },
    }),
  ),
)

const heads = [
  [1, 1, 2],
  [5, 3, 6],
  [7, 2, 16],
  [0, 2, 8],
  [130, 3, 96],
] as const

const rope = heads.flatMap(([tokens, count, size]) =>
  [false, true].map((inverse) =>
    operationCase({
      name: `rope [${tokens}, ${count}, ${size}]${inverse ? ', back' : ''}`,
      operands: {
        x: { shape: [tokens, count, size], dtype: 'activation', role: 'inout' },
        positions: { shape: [tokens], dtype: 'int32', values: (random) => random.integer(9) },
        cosines: { shape: [9, size / 2], dtype: 'float32', layouts: 'dense' },
        sines: { shape: [9, size / 2], dtype: 'float32', layouts: 'dense' },
      },
      call: ({ x, positions, cosines, sines }) => native.rope(x, positions, cosines, sines, inverse),
      reference: ({ x, positions, cosines, sines }) => {
        const half = size / 2
        return {
          x: Host.of([tokens, count, size], (t, h, e) => {
            const j = e % half
            const [c, s] = [cosines.at(positions.at(t), j), (inverse ? -1 : 1) * sines.at(positions.at(t), j)]
            return e < half
              ? x.at(t, h, j) * c - x.at(t, h, j + half) * s
              : x.at(t, h, j + half) * c + x.at(t, h, j) * s
          }),
        }
      },
    }),
  ),
)

const sigmoid = (value: number): number => 1 / (1 + Math.exp(-value))
/** Also values for which exp overflows in float32. */
const wide = (random: { normal(): number }, i: number) => (i < 4 ? [-120, 120, -30, 0][i]! : 3 * random.normal())

const swiglu = sizes.map(([tokens, width]) =>
  operationCase({
    name: `swiglu [${tokens}, ${width}]`,
    operands: {
      gate: { shape: [tokens, width], dtype: 'activation', values: wide },
      up: { shape: [tokens, width], dtype: 'activation' },
      y: { shape: [tokens, width], dtype: 'activation', role: 'out' },
    },
    call: ({ gate, up, y }) => native.swiglu(gate, up, y),
    reference: ({ gate, up }) => ({
      y: Host.of([tokens, width], (t, j) => gate.at(t, j) * sigmoid(gate.at(t, j)) * up.at(t, j)),
    }),
  }),
)

const swigluBackward = sizes.map(([tokens, width]) =>
  operationCase({
    name: `swigluBackward [${tokens}, ${width}]`,
    operands: {
      dY: { shape: [tokens, width], dtype: 'activation' },
      gate: { shape: [tokens, width], dtype: 'activation', values: wide },
      up: { shape: [tokens, width], dtype: 'activation' },
      dGate: { shape: [tokens, width], dtype: 'activation', role: 'out' },
      dUp: { shape: [tokens, width], dtype: 'activation', role: 'out' },
    },
    call: ({ dY, gate, up, dGate, dUp }) => native.swigluBackward(dY, gate, up, dGate, dUp),
    reference: ({ dY, gate, up }) => ({
      dUp: Host.of([tokens, width], (t, j) => dY.at(t, j) * gate.at(t, j) * sigmoid(gate.at(t, j))),
      dGate: Host.of([tokens, width], (t, j) => {
        const [g, s] = [gate.at(t, j), sigmoid(gate.at(t, j))]
        return dY.at(t, j) * up.at(t, j) * s * (1 + g * (1 - s))
      }),
    }),
  }),
)

/** Whether an element is kept: the definition, on the generator that the data pipeline has. */
function keeps(key: readonly [number, number], rowKey: number, column: number, probability: number): boolean {
  const high = Math.floor(rowKey / 2 ** 32) >>> 0
  const words = philox4x32([rowKey >>> 0, high, Math.floor(column / 4), 0], key)
  return (words[column % 4]! >>> 8) * 2 ** -24 >= Math.fround(probability)
}

const dropout = sizes.flatMap(([tokens, width]) =>
  [0, 0.1, 0.75].map((probability) =>
    operationCase({
      name: `dropout [${tokens}, ${width}] with ${probability}`,
      operands: {
        x: { shape: [tokens, width], dtype: 'activation' },
        rowKeys: { shape: [tokens], dtype: 'int64', values: (_, i) => i * 2 ** 33 + 7 * i + 3 },
        y: { shape: [tokens, width], dtype: 'activation', role: 'out' },
      },
      call: ({ x, rowKeys, y }) => native.dropout(x, rowKeys, { key: [0xdeadbeef, 17], probability }, y),
      reference: ({ x, rowKeys }) => ({
        y: Host.of([tokens, width], (t, j) =>
          keeps([0xdeadbeef, 17], rowKeys.at(t), j, probability) ? x.at(t, j) / (1 - probability) : 0,
        ),
      }),
    }),
  ),
)

type Layers = 'rmsNorm' | 'rmsNormApply' | 'rmsNormBackward' | 'rope' | 'swiglu' | 'swigluBackward' | 'dropout'
export const layers: Record<Layers, OperationCase[]> = {
  rmsNorm: [...rmsNorm, rmsNormOfRstdOnly],
  rmsNormApply,
  rmsNormBackward,
  rope,
  swiglu,
  swigluBackward,
  dropout,
}
