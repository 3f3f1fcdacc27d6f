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

/** Logits of one row whose target is class 3 or 2, and whose loss or gradient is at an end of float32. */
const ends = [
  // One class adds e^-18 to the loss, which float32 would lose beside 1.
  ...[5, 512, 4104].map((columns) => ({
    name: `of a nearly certain target among ${columns}`,
    target: 3,
    logits: Array.from({ length: columns }, (_, j) => (j === 3 ? 0 : -18)),
  })),
  ...[Number.NEGATIVE_INFINITY, Number.NaN].map((other) => ({
    name: `with logits of -Infinity and one of ${other}`,
    target: 2,
    logits: Array.from({ length: 1100 }, (_, j) => ({ 2: 1, 7: other, 1090: 2 })[j] ?? Number.NEGATIVE_INFINITY),
  })),
].map(({ name, target, logits }) =>
  operationCase({
    name: `crossEntropy ${name}`,
    dtypes: ['float32'],
    operands: {
      logits: { shape: [1, logits.length], dtype: 'activation', values: logits },
      targets: { shape: [1], dtype: 'int32', values: [target] },
      losses: { shape: [1], dtype: 'float32', role: 'out' },
      dLogits: { shape: [1, logits.length], dtype: 'activation', role: 'out' },
    },
    slack: { float32: 1e-6 },
    call: ({ logits, targets, losses, dLogits }) => native.crossEntropy(logits, targets, 0, losses, dLogits),
    reference: ({ logits }) => {
      const { weights } = softmax(logits, 0)
      const others = total(weights.length, (j) => (j === target ? 0 : weights[j]!))
      const loss = Math.log1p(others / weights[target]!)
      return {
        losses: new Host([1], [loss]),
        dLogits: new Host(
          logits.shape,
          weights.map((weight, j) => (j === target ? Math.expm1(-loss) : weight)),
        ),
      }
    },
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

/** Powers of two at both ends, which cancel: float32's sums would lose the numbers between them. */
const cancelling = (length: number) => (random: { normal(): number }, i: number) =>
  length > 2 && i === 0 ? 16384 : length > 2 && i === length - 1 ? -16384 : random.normal()

const sum = lengths.flatMap((length) =>
  [false, true].map((accumulate) =>
    operationCase({
      name: `sum of ${length}${accumulate ? ', added' : ''}`,
      operands: {
        x: { shape: [length], dtype: 'activation', values: cancelling(length) },
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

const fullCount = operationCase({
  name: 'countNonFinite beyond the largest count',
  dtypes: ['float32'],
  operands: {
    x: { shape: [2], dtype: 'activation', values: [Number.NaN, Number.POSITIVE_INFINITY] },
    count: { shape: [1], dtype: 'int32', role: 'inout', values: [2 ** 31 - 2] },
  },
  call: ({ x, count }) => native.countNonFinite(x, count, true),
  reference: () => ({ count: new Host([1], [2 ** 31 - 1]) }),
})

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
  const ofShape = (operand: Operand, ...shape: number[]): Operand => ({ ...operand, shape })
  return operationCase({
    name,
    dtypes: ['float32'],
    operands: {
      p0: trained,
      g0: float32(4, 9),
      m0: trained,
      v0: moment,
      p1: ofShape(trained, 17000),
      g1: float32(17000),
      m1: ofShape(trained, 17000),
      v1: ofShape(moment, 17000),
      empty: float32(0),
      p2: ofShape(trained, 1),
      g2: float32(1),
      m2: ofShape(trained, 1),
      v2: ofShape(moment, 1),
      scale: { ...float32(1), values: [scale] },
    },
    call: ({ p0, g0, m0, v0, p1, g1, m1, v1, empty, p2, g2, m2, v2, scale }) =>
      native.adamw({
        parameters: [p0, p1, empty, p2],
        gradients: [g0, g1, empty, g2],
        firstMoments: [m0, m1, empty, m2],
        secondMoments: [v0, v1, empty, v2],
        step,
        scale,
      }),
    // Loshchilov and Hutter, Algorithm 2, with decoupled decay of learningRate · weightDecay.
    reference: (values) => {
      const result: Record<string, Host> = {}
      for (const i of [0, 1, 2] as const) {
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
  ...[Number.NaN, Number.POSITIVE_INFINITY].map((scale) =>
    adamwCase(`adamw with a scale of ${scale} changes nothing`, scale, 3),
  ),
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
  crossEntropy: [...crossEntropy, ...ends],
  capLogits,
  sum,
  globalNorm,
  clipScale,
  adamw,
  countNonFinite: [...countNonFinite, fullCount],
  largestDifference,
}
