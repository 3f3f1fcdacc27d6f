import { native } from '../../../lib/native/addon.js'
import { type Operand, type OperationCase, operationCase } from '../harness.js'
import { Host, sum as total } from '../host.js'

const logitSizes = [
  [1, 1],
  [1, 2],
  [5, 7],
  [3, 257],
  [0, 9],
  [41, 1031],
] as const

/** Every third row has no target. */
const targetsBelow = (vocabulary: number) => (random: { integer(bound: number): number }, i: number) =>
  i % 3 === 2 ? -1 - i : random.integer(vocabulary)

function softmax(logits: Host, row: number): { weights: number[]; lse: number } {
  const values = Array.from({ length: logits.shape[1]! }, (_, j) => logits.at(row, j))
  const most = Math.max(...values)
  const lse = most + Math.log(total(values.length, (j) => Math.exp(values[j]! - most)))
  return { weights: values.map((value) => Math.exp(value - lse)), lse }
}

/** softcap · tanh(x / softcap), or x without a softcap. */
const capped = (logits: Host, softcap: number): Host =>
  softcap > 0 ? logits.map((value) => softcap * Math.tanh(value / softcap)) : logits

const lossesOf = (logits: Host, targets: Host, softcap = 0): Host => {
  const scores = capped(logits, softcap)
  return Host.of([logits.shape[0]!], (t) => {
    const target = targets.at(t)
    return target < 0 ? 0 : softmax(scores, t).lse - scores.at(t, target)
  })
}

const gradientOf = (logits: Host, targets: Host, softcap = 0): Host => {
  const scores = capped(logits, softcap)
  const rows = Array.from({ length: logits.shape[0]! }, (_, t) => softmax(scores, t).weights)
  return Host.of(logits.shape, (t, j) => {
    const slope = softcap > 0 ? 1 - (scores.at(t, j) / softcap) ** 2 : 1
    return targets.at(t) < 0 ? 0 : slope * (rows[t]![j]! - (targets.at(t) === j ? 1 : 0))
  })
}

/** Large logits too: their exponentials overflow without the maximum. */
const spread = (random: { normal(): number }, i: number) => (i % 11 === 3 ? 300 : 0) + 4 * random.normal()

const crossEntropy = logitSizes.flatMap(([rows, vocabulary]) =>
  [0, 30].flatMap((softcap) => {
    const logits = { shape: [rows, vocabulary], dtype: 'activation', values: spread } as const
    const targets = { shape: [rows], dtype: 'int32', values: targetsBelow(vocabulary) } as const
    const losses = { shape: [rows], dtype: 'float32', role: 'out' } as const
    const name = `crossEntropy [${rows}, ${vocabulary}]${softcap ? ' of capped logits' : ''}`
    // A certain target has a loss of nothing beside the size of its logit, and a logit of 300 is known to 3e-5.
    const slack = { float32: 1e-5, bfloat16: 1e-5 }
    return [
      operationCase({
        name,
        operands: { logits, targets, losses },
        slack,
        call: ({ logits, targets, losses }) => native.crossEntropy(logits, targets, softcap, losses, null),
        reference: ({ logits, targets }) => ({ losses: lossesOf(logits, targets, softcap) }),
      }),
      operationCase({
        name: `${name} with gradients`,
        operands: { logits, targets, losses, dLogits: { shape: [rows, vocabulary], dtype: 'activation', role: 'out' } },
        slack,
        call: ({ logits, targets, losses, dLogits }) => native.crossEntropy(logits, targets, softcap, losses, dLogits),
        reference: ({ logits, targets }) => ({
          losses: lossesOf(logits, targets, softcap),
          dLogits: gradientOf(logits, targets, softcap),
        }),
      }),
      operationCase({
        name: `${name} with gradients in the logits' memory`,
        operands: { logits: { ...logits, role: 'inout' }, targets, losses },
        slack,
        call: ({ logits, targets, losses }) => native.crossEntropy(logits, targets, softcap, losses, logits),
        reference: ({ logits, targets }) => ({
          losses: lossesOf(logits, targets, softcap),
          logits: gradientOf(logits, targets, softcap),
        }),
      }),
    ]
  }),
)

const capLogits = logitSizes.map(([rows, vocabulary]) =>
  operationCase({
    name: `capLogits [${rows}, ${vocabulary}]`,
    operands: { logits: { shape: [rows, vocabulary], dtype: 'activation', role: 'inout', values: spread } },
    call: ({ logits }) => native.capLogits(logits, 30),
    reference: ({ logits }) => ({ logits: capped(logits, 30) }),
  }),
)

const lengths = [0, 1, 13, 64, 16385, 70001]

const sum = lengths.flatMap((length) =>
  [false, true].map((accumulate) =>
    operationCase({
      name: `sum of ${length}${accumulate ? ', added' : ''}`,
      operands: {
        x: { shape: [length], dtype: 'activation' },
        total: { shape: [1], dtype: 'float32', role: accumulate ? 'inout' : 'out' },
      },
      slack: { float32: 0, bfloat16: 0 },
      call: ({ x, total }) => native.sum(x, total, accumulate),
      reference: ({ x, total: before }) => ({
        total: new Host([1], [total(length, (i) => x.at(i)) + (accumulate ? before.at(0) : 0)]),
      }),
    }),
  ),
)

const countNonFinite = [0, 1, 37, 40000].flatMap((length) =>
  [false, true].map((accumulate) =>
    operationCase({
      name: `countNonFinite of ${length}${accumulate ? ', added' : ''}`,
      operands: {
        x: {
          shape: [length],
          dtype: 'activation',
          values: (random, i) =>
            i % 5 === 0 ? [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY][i % 3]! : random.normal(),
        },
        count: { shape: [1], dtype: 'int32', role: accumulate ? 'inout' : 'out', values: [3] },
      },
      call: ({ x, count }) => native.countNonFinite(x, count, accumulate),
      reference: () => ({ count: new Host([1], [Math.ceil(length / 5) + (accumulate ? 3 : 0)]) }),
    }),
  ),
)

const largestDifference = [0, 1, 37, 40000].flatMap((length) =>
  [false, true].map((accumulate) =>
    operationCase({
      name: `largestDifference of ${length}${accumulate ? ', or more' : ''}`,
      operands: {
        a: {
          shape: [length],
          dtype: 'activation',
          values: (random, i) => (i % 11 === 5 ? Number.NaN : random.normal() + (i === length >> 1 ? 9 : 0)),
        },
        b: { shape: [length], dtype: 'activation' },
        largest: { shape: [1], dtype: 'float32', role: accumulate ? 'inout' : 'out', values: [0.5] },
      },
      slack: { float32: 0, bfloat16: 0 },
      call: ({ a, b, largest }) => native.largestDifference(a, b, largest, accumulate),
      reference: ({ a, b, largest: before }) => {
        const numbers = Array.from({ length }, (_, i) => Math.abs(a.at(i) - b.at(i))).filter((x) => !Number.isNaN(x))
        return { largest: new Host([1], [numbers.reduce((x, y) => Math.max(x, y), accumulate ? before.at(0) : 0)]) }
      },
    }),
  ),
)

const float32 = (...shape: number[]): Operand => ({ shape, dtype: 'float32', layouts: 'dense' })

const globalNorm = [
  operationCase({
    name: 'globalNorm of several tensors',
    dtypes: ['float32'],
    operands: {
      a: float32(3, 7),
      b: float32(1),
      c: float32(0),
      d: float32(20000),
      norm: { ...float32(1), role: 'out' },
    },
    slack: { float32: 0 },
    call: ({ a, b, c, d, norm }) => native.globalNorm([a, b, c, d], norm),
    reference: ({ a, b, d }) => ({
      norm: new Host([1], [Math.hypot(...[a, b, d].map((host) => Math.hypot(...host.values)))]),
    }),
  }),
  operationCase({
    name: 'globalNorm of nothing',
    dtypes: ['float32'],
    operands: { norm: { ...float32(1), role: 'out' } },
    call: ({ norm }) => native.globalNorm([], norm),
    reference: () => ({ norm: new Host([1]) }),
  }),
]

const clipScale = [
  { norm: 8, gradientScale: 0.5, maxNorm: 1, expected: 0.5 * (1 / (4 + 1e-6)) },
  { norm: 8, gradientScale: 0.01, maxNorm: 1, expected: 0.01 },
  { norm: 8, gradientScale: 0.5, maxNorm: 0, expected: 0.5 },
  { norm: 0, gradientScale: 2, maxNorm: 1, expected: 2 },
  { norm: Number.POSITIVE_INFINITY, gradientScale: 1, maxNorm: 1, expected: Number.NaN },
  { norm: Number.NaN, gradientScale: 1, maxNorm: 0, expected: Number.NaN },
].map(({ norm, gradientScale, maxNorm, expected }) =>
  operationCase({
    name: `clipScale of norm ${norm} times ${gradientScale}, at most ${maxNorm}`,
    dtypes: ['float32'],
    operands: { norm: { ...float32(1), values: [norm] }, scale: { ...float32(1), role: 'out' } },
    call: (tensors) => native.clipScale(tensors.norm, gradientScale, maxNorm, tensors.scale),
    reference: () => ({ scale: new Host([1], [expected]) }),
  }),
)

function adamwCase(name: string, scale: number, stepNumber: number): OperationCase {
  const step = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: stepNumber }
  const trained: Operand = { shape: [4, 9], dtype: 'float32', role: 'inout', layouts: 'dense' }
  const moment: Operand = { ...trained, values: (random) => random.uniform() }
  const large: Operand = { ...trained, shape: [17000] }
  return operationCase({
    name,
    dtypes: ['float32'],
    operands: {
      p0: trained,
      g0: float32(4, 9),
      m0: trained,
      v0: moment,
      p1: large,
      g1: float32(17000),
      m1: large,
      v1: { ...moment, shape: [17000] },
      scale: { ...float32(1), values: [scale] },
    },
    call: ({ p0, g0, m0, v0, p1, g1, m1, v1, scale }) =>
      native.adamw({
        parameters: [p0, p1],
        gradients: [g0, g1],
        firstMoments: [m0, m1],
        secondMoments: [v0, v1],
        step,
        scale,
      }),
    // Loshchilov and Hutter, Algorithm 2, with decoupled decay of learningRate · weightDecay.
    reference: (values) => {
      const result: Record<string, Host> = {}
      for (const i of [0, 1] as const) {
        const [p, g, m, v] = [values[`p${i}`], values[`g${i}`], values[`m${i}`], values[`v${i}`]]
        if (!Number.isFinite(scale)) {
          Object.assign(result, { [`p${i}`]: p, [`m${i}`]: m, [`v${i}`]: v })
          continue
        }
        const first = m.values.map((old, j) => step.beta1 * old + (1 - step.beta1) * scale * g.values[j]!)
        const second = v.values.map((old, j) => step.beta2 * old + (1 - step.beta2) * (scale * g.values[j]!) ** 2)
        const moved = p.values.map((old, j) => {
          const mean = first[j]! / (1 - step.beta1 ** step.step)
          const root = Math.sqrt(second[j]! / (1 - step.beta2 ** step.step)) + step.epsilon
          return old * (1 - step.learningRate * step.weightDecay) - (step.learningRate * mean) / root
        })
        result[`p${i}`] = new Host(p.shape, moved)
        result[`m${i}`] = new Host(m.shape, first)
        result[`v${i}`] = new Host(v.shape, second)
      }
      return result
    },
  })
}

const adamw = [
  adamwCase('adamw, first step', 0.5, 1),
  adamwCase('adamw, step 1000', 2, 1000),
  adamwCase('adamw with a scale that is not finite changes nothing', Number.NaN, 3),
]

type Training =
  | 'crossEntropy'
  | 'capLogits'
  | 'sum'
  | 'globalNorm'
  | 'clipScale'
  | 'adamw'
  | 'countNonFinite'
  | 'largestDifference'
export const training: Record<Training, OperationCase[]> = {
  crossEntropy,
  capLogits,
  sum,
  globalNorm,
  clipScale,
  adamw,
  countNonFinite,
  largestDifference,
}
