import { type Activation, native } from '../../../lib/native/addon.js'
import { type OperationCase, operationCase } from '../harness.js'
import { Host } from '../host.js'
import { sizes } from './layers.js'

const sigmoid = (value: number): number => 1 / (1 + Math.exp(-value))

/** Phi(x) = 1/2 + phi(x) (x + x³/3 + x⁵/(3·5) + ..): terms of one sign, so exact in float64 beside 1. */
function normalDistribution(x: number): number {
  if (Math.abs(x) > 12) return x > 0 ? 1 : 0
  let [term, series] = [x, x]
  for (let i = 3; Math.abs(term) > 1e-17 * Math.abs(series); i += 2) {
    term *= x ** 2 / i
    series += term
  }
  return 0.5 + (Math.exp(-(x ** 2) / 2) / Math.sqrt(2 * Math.PI)) * series
}

/** f(x) and f'(x), by their definitions. */
const functions: Record<Activation, (x: number) => { value: number; slope: number }> = {
  silu: (x) => ({ value: x * sigmoid(x), slope: sigmoid(x) * (1 + x * (1 - sigmoid(x))) }),
  gelu: (x) => {
    const phi = normalDistribution(x)
    return { value: x * phi, slope: phi + (x * Math.exp(-(x ** 2) / 2)) / Math.sqrt(2 * Math.PI) }
  },
  geluTanh: (x) => {
    const inner = Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)
    const innerSlope = Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x ** 2)
    const tanh = Math.tanh(inner)
    return { value: (x / 2) * (1 + tanh), slope: (1 + tanh) / 2 + (x / 2) * (1 - tanh ** 2) * innerSlope }
  },
  relu: (x) => ({ value: Math.max(x, 0), slope: x > 0 ? 1 : 0 }),
}
const names = Object.keys(functions) as Activation[]

/** Also values for which exp overflows in float32. */
const wide = (random: { normal(): number }, i: number) => (i < 4 ? [-120, 120, -30, 0][i]! : 3 * random.normal())

const activation = names.flatMap((f) =>
  sizes.flatMap(([tokens, width]) =>
    [true, false].map((gated) =>
      operationCase({
        name: `activation ${f} [${tokens}, ${width}]${gated ? ', gated' : ''}`,
        operands: {
          gate: { shape: [tokens, width], dtype: 'activation', values: wide },
          up: { shape: [tokens, width], dtype: 'activation' },
          y: { shape: [tokens, width], dtype: 'activation', role: 'out' },
        },
        call: ({ gate, up, y }) => native.activation(f, gate, gated ? up : null, y),
        reference: ({ gate, up }) => ({
          y: Host.of([tokens, width], (t, j) => functions[f](gate.at(t, j)).value * (gated ? up.at(t, j) : 1)),
        }),
      }),
    ),
  ),
)

const activationBackward = names.flatMap((f) =>
  sizes.flatMap(([tokens, width]) => {
    const matrix = { shape: [tokens, width], dtype: 'activation' } as const
    const operands = { dY: matrix, gate: { ...matrix, values: wide }, dGate: { ...matrix, role: 'out' } } as const
    return [
      operationCase({
        name: `activationBackward ${f} [${tokens}, ${width}], gated`,
        operands: { ...operands, up: matrix, dUp: { ...matrix, role: 'out' } },
        call: ({ dY, gate, up, dGate, dUp }) => native.activationBackward({ f, dY, gate, up, dGate, dUp }),
        reference: ({ dY, gate, up }) => ({
          dUp: Host.of([tokens, width], (t, j) => dY.at(t, j) * functions[f](gate.at(t, j)).value),
          dGate: Host.of([tokens, width], (t, j) => dY.at(t, j) * up.at(t, j) * functions[f](gate.at(t, j)).slope),
        }),
      }),
      operationCase({
        name: `activationBackward ${f} [${tokens}, ${width}]`,
        operands,
        call: ({ dY, gate, dGate }) => native.activationBackward({ f, dY, gate, dGate }),
        reference: ({ dY, gate }) => ({
          dGate: Host.of([tokens, width], (t, j) => dY.at(t, j) * functions[f](gate.at(t, j)).slope),
        }),
      }),
    ]
  }),
)

/** The tails' own precision, and values whose cube overflows: every result is compared with its own size. */
const tails = (['gelu', 'geluTanh'] as const).flatMap((f) =>
  [-1e20, -9, -5, -3, -1.5, 1e20].map((x) =>
    operationCase({
      name: `activation ${f} of ${x}`,
      dtypes: ['float32'],
      operands: {
        gate: { shape: [1, 2], dtype: 'activation', values: [x, x] },
        y: { shape: [1, 2], dtype: 'activation', role: 'out' },
      },
      slack: { float32: 2e-5 },
      call: ({ gate, y }) => native.activation(f, gate, null, y),
      reference: ({ gate }) => ({ y: gate.map((value) => tailOf(f, value)) }),
    }),
  ),
)

/** Slopes where exponentials and cubes overflow in float32: no intermediate result may become infinite or NaN. */
const slopesOfTails = names.map((f) =>
  operationCase({
    name: `activationBackward ${f} of large numbers`,
    dtypes: ['float32'],
    operands: {
      dY: { shape: [1, 7], dtype: 'activation' },
      gate: { shape: [1, 7], dtype: 'activation', values: [-1e20, -1000, -104, -89, 89, 1000, 1e20] },
      dGate: { shape: [1, 7], dtype: 'activation', role: 'out' },
    },
    call: ({ dY, gate, dGate }) => native.activationBackward({ f, dY, gate, dGate }),
    reference: ({ dY }) => ({
      dGate: new Host(
        [1, 7],
        dY.values.map((value, i) => (i < 4 ? 0 : value)),
      ),
    }),
  }),
)

/** Phi(x) = phi(x) / (-x + 1 / (-x + 2 / (-x + ..))) for negative x; without the cancellation of 1 + tanh. */
function tailOf(f: 'gelu' | 'geluTanh', x: number): number {
  if (f === 'geluTanh') return x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
  if (x > 0) return functions.gelu(x).value
  let fraction = -x
  for (let i = 400; i > 0; i--) fraction = -x + i / fraction
  return (x * Math.exp(-(x ** 2) / 2)) / Math.sqrt(2 * Math.PI) / fraction
}

export const activations: Record<'activation' | 'activationBackward', OperationCase[]> = {
  activation: [...activation, ...tails],
  activationBackward: [...activationBackward, ...slopesOfTails],
}
