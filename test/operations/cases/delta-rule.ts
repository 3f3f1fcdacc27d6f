import { native } from '../../../lib/native/addon.js'
import { type Operand, type OperationCase, operationCase } from '../harness.js'
import { Host, sum } from '../host.js'

interface Size {
  readonly offsets: readonly number[]
  readonly keyHeads: number
  readonly valueHeads: number
  readonly keySize: number
  readonly valueSize: number
  /** Factor of log decays; 0: none. Default 0.3. */
  readonly decay?: number
}

/** Around chunks of 64 tokens, and tiles of 64 rows and 32 columns of a state. */
const sizes: readonly Size[] = [
  { offsets: [0, 1], keyHeads: 1, valueHeads: 1, keySize: 1, valueSize: 3 },
  { offsets: [0, 5], keyHeads: 1, valueHeads: 3, keySize: 3, valueSize: 5 },
  { offsets: [0, 2, 2, 9, 10], keyHeads: 2, valueHeads: 4, keySize: 8, valueSize: 7 },
  { offsets: [0, 64, 129], keyHeads: 2, valueHeads: 2, keySize: 4, valueSize: 9 },
  { offsets: [0, 70, 71], keyHeads: 1, valueHeads: 2, keySize: 16, valueSize: 8, decay: 20 },
  { offsets: [0, 90], keyHeads: 1, valueHeads: 1, keySize: 5, valueSize: 4, decay: 0 },
  { offsets: [0], keyHeads: 1, valueHeads: 2, keySize: 4, valueSize: 4 },
  { offsets: [0, 0, 0], keyHeads: 1, valueHeads: 2, keySize: 4, valueSize: 4 },
  { offsets: [0, 3, 69], keyHeads: 1, valueHeads: 2, keySize: 66, valueSize: 34 },
  { offsets: [0, 150], keyHeads: 2, valueHeads: 4, keySize: 72, valueSize: 40 },
]

const named = ({ offsets, keyHeads, valueHeads, keySize, valueSize, decay }: Size): string =>
  `tokens from ${offsets.join(', ')}, ${keyHeads} key and ${valueHeads} value heads of ${keySize} x ${valueSize}${
    decay === undefined ? '' : `, decay ${decay}`
  }`

/** Operands of both passes. Keys are about as long as 1, so that states do not grow. */
function operandsOf({ offsets, keyHeads, valueHeads, keySize, valueSize, decay = 0.3 }: Size) {
  const tokens = offsets.at(-1)!
  const scaled: Operand['values'] = (random) => random.normal() / Math.sqrt(keySize)
  return {
    q: { shape: [tokens, keyHeads, keySize], dtype: 'activation' },
    k: { shape: [tokens, keyHeads, keySize], dtype: 'activation', values: scaled },
    v: { shape: [tokens, valueHeads, valueSize], dtype: 'activation' },
    g: { shape: [tokens, valueHeads], dtype: 'float32', values: (random) => -decay * Math.abs(random.normal()) },
    beta: { shape: [tokens, valueHeads], dtype: 'float32', values: (random) => 1 / (1 + Math.exp(random.normal())) },
    offsets: { shape: [offsets.length], dtype: 'int32', values: offsets },
    state: statesOf({ offsets, keyHeads, valueHeads, keySize, valueSize }, 'in'),
  } as const satisfies Record<string, Operand>
}

function statesOf({ offsets, valueHeads, keySize, valueSize }: Size, role: 'in' | 'out'): Operand {
  return {
    shape: [offsets.length - 1, valueHeads, keySize, valueSize],
    dtype: 'float32',
    layouts: 'dense',
    role,
  }
}

type Inputs = Readonly<Record<'q' | 'k' | 'v' | 'g' | 'beta', Host>>
type Matrix = Float64Array[]

/** One token's state after its decay and after its update, and the update's parts. */
interface Step {
  readonly decayed: Matrix
  readonly after: Matrix
  readonly residual: readonly number[]
}

/** Goes through the tokens of a value head in a document, and returns its steps. */
function stepsOf(size: Size, { k, v, g, beta }: Inputs, state: Host | null, document: number, head: number): Step[] {
  const { offsets, keyHeads, valueHeads, keySize, valueSize } = size
  const keyHead = Math.floor((head * keyHeads) / valueHeads)
  let matrix = startOf(size, state, document, head)
  const steps: Step[] = []
  for (let t = offsets[document]!; t < offsets[document + 1]!; t++) {
    const decayed = matrix.map((row) => row.map((value) => value * Math.exp(g.at(t, head))))
    const read = (j: number) => sum(keySize, (i) => decayed[i]![j]! * k.at(t, keyHead, i))
    const residual = Array.from({ length: valueSize }, (_, j) => v.at(t, head, j) - read(j))
    const update = residual.map((value) => value * beta.at(t, head))
    matrix = decayed.map((row, i) => row.map((value, j) => value + k.at(t, keyHead, i) * update[j]!))
    steps.push({ decayed, after: matrix, residual })
  }
  return steps
}

function startOf({ keySize, valueSize }: Size, states: Host | null, document: number, head: number): Matrix {
  return Array.from({ length: keySize }, (_, i) =>
    Float64Array.from({ length: valueSize }, (_, j) => states?.at(document, head, i, j) ?? 0),
  )
}

function* headsOf({ offsets, valueHeads }: Size): Generator<[document: number, head: number]> {
  for (let document = 0; document + 1 < offsets.length; document++)
    for (let head = 0; head < valueHeads; head++) yield [document, head]
}

function store(matrix: Matrix, states: Host, document: number, head: number): void {
  for (const [i, row] of matrix.entries())
    for (const [j, value] of row.entries()) states.set(value, document, head, i, j)
}

/** Float32 sums over chunks, whose terms are products of three rounded numbers. */
const slack = { float32: 2e-5, bfloat16: 2e-5 }

const gatedDeltaRule = sizes.flatMap((size) =>
  [false, true].map((hasStates) => {
    const { keyHeads, valueHeads, keySize, valueSize } = size
    const operands = operandsOf(size)
    return operationCase({
      name: `gatedDeltaRule of ${named(size)}${hasStates ? ', states' : ''}`,
      operands: {
        ...operands,
        y: { shape: operands.v.shape, dtype: 'activation', role: 'out' },
        finalState: statesOf(size, hasStates ? 'out' : 'in'),
      },
      slack,
      call: ({ state, finalState, ...others }) =>
        native.gatedDeltaRule({ ...others, ...(hasStates && { state, finalState }) }),
      reference: ({ state, finalState, ...inputs }) => {
        const y = new Host(operands.v.shape)
        const final = new Host(finalState.shape)
        for (const [document, head] of headsOf(size)) {
          const keyHead = Math.floor((head * keyHeads) / valueHeads)
          const steps = stepsOf(size, inputs, hasStates ? state : null, document, head)
          for (const [row, { after }] of steps.entries()) {
            const t = size.offsets[document]! + row
            for (let j = 0; j < valueSize; j++)
              y.set(sum(keySize, (i) => after[i]![j]! * inputs.q.at(t, keyHead, i)) / Math.sqrt(keySize), t, head, j)
          }
          store(steps.at(-1)?.after ?? startOf(size, hasStates ? state : null, document, head), final, document, head)
        }
        return { y, finalState: final }
      },
    })
  }),
)

/** The gradients of a recurrence of single tokens, which go back through the steps. */
function gradientsOf(size: Size, inputs: Inputs, dY: Host, state: Host | null, dFinal: Host | null) {
  const { offsets, keyHeads, valueHeads, keySize, valueSize } = size
  const { q, k, v, g, beta } = inputs
  const of = (like: Host) => new Host(like.shape)
  const [dQ, dK, dV, dG, dBeta] = [of(q), of(k), of(v), of(g), of(beta)]
  const dState = new Host([offsets.length - 1, valueHeads, keySize, valueSize])
  for (const [document, head] of headsOf(size)) {
    const keyHead = Math.floor((head * keyHeads) / valueHeads)
    const steps = stepsOf(size, inputs, state, document, head)
    let matrix = startOf(size, dFinal, document, head)
    for (let t = offsets[document + 1]! - 1; t >= offsets[document]!; t--) {
      const { decayed, after, residual } = steps[t - offsets[document]!]!
      const [rate, decay] = [beta.at(t, head), Math.exp(g.at(t, head))]
      const dAfter = matrix.map((row, i) =>
        row.map((value, j) => value + (q.at(t, keyHead, i) * dY.at(t, head, j)) / Math.sqrt(keySize)),
      )
      const dUpdate = residual.map((_, j) => sum(keySize, (i) => dAfter[i]![j]! * k.at(t, keyHead, i)))
      const dValue = dUpdate.map((value) => rate * value)
      const dDecayed = dAfter.map((row, i) => row.map((value, j) => value - k.at(t, keyHead, i) * dValue[j]!))
      for (let i = 0; i < keySize; i++) {
        dQ.add(sum(valueSize, (j) => after[i]![j]! * dY.at(t, head, j)) / Math.sqrt(keySize), t, keyHead, i)
        const changes = (j: number) => dAfter[i]![j]! * rate * residual[j]! - decayed[i]![j]! * dValue[j]!
        dK.add(sum(valueSize, changes), t, keyHead, i)
      }
      for (const [j, value] of dValue.entries()) dV.set(value, t, head, j)
      dBeta.set(
        sum(valueSize, (j) => dUpdate[j]! * residual[j]!),
        t,
        head,
      )
      dG.set(
        sum(keySize, (i) => sum(valueSize, (j) => dDecayed[i]![j]! * decayed[i]![j]!)),
        t,
        head,
      )
      matrix = dDecayed.map((row) => row.map((value) => value * decay))
    }
    store(matrix, dState, document, head)
  }
  return { dQ, dK, dV, dG, dBeta, dState }
}

const gatedDeltaRuleBackward = sizes.flatMap((size) =>
  [false, true].map((hasStates) => {
    const inputs = operandsOf(size)
    const like = ({ shape }: Operand, dtype: Operand['dtype']) => ({ shape, dtype, role: 'out' }) as const
    return operationCase({
      name: `gatedDeltaRuleBackward of ${named(size)}${hasStates ? ', states' : ''}`,
      operands: {
        ...inputs,
        dY: { shape: inputs.v.shape, dtype: 'activation' },
        dFinal: statesOf(size, 'in'),
        dQ: like(inputs.q, 'activation'),
        dK: like(inputs.k, 'activation'),
        dV: like(inputs.v, 'activation'),
        dG: like(inputs.g, 'float32'),
        dBeta: like(inputs.beta, 'float32'),
        dState: statesOf(size, hasStates ? 'out' : 'in'),
      },
      slack,
      call: ({ state, dFinal, dState, ...others }) =>
        native.gatedDeltaRuleBackward({ ...others, ...(hasStates && { state, dFinal, dState }) }),
      reference: ({ dY, state, dFinal, ...others }) =>
        gradientsOf(size, others, dY, hasStates ? state : null, hasStates ? dFinal : null),
    })
  }),
)

/** Tokens and heads. */
const gateSizes = [
  [0, 2],
  [1, 1],
  [3, 5],
  [7, 32],
  [301, 4],
] as const

const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

const gateOperands = ([tokens, heads]: readonly [number, number]) =>
  ({
    a: { shape: [tokens, heads], dtype: 'activation', values: (random) => 5 * random.normal() },
    logRate: { shape: [heads], dtype: 'float32' },
    bias: { shape: [heads], dtype: 'float32' },
  }) as const satisfies Record<string, Operand>

const deltaGates = gateSizes.map((size) =>
  operationCase({
    name: `deltaGates of ${size.join(' x ')}`,
    operands: {
      ...gateOperands(size),
      b: { shape: size, dtype: 'activation' },
      g: { shape: size, dtype: 'float32', role: 'out' },
      beta: { shape: size, dtype: 'float32', role: 'out' },
    },
    call: (operands) => native.deltaGates(operands),
    reference: ({ a, b, logRate, bias }) => ({
      g: Host.of(size, (t, h) => -Math.exp(logRate.at(h)) * softplus(a.at(t, h) + bias.at(h))),
      beta: b.map(sigmoid),
    }),
  }),
)

const deltaGatesBackward = gateSizes.flatMap((size) =>
  [true, false].map((trained) => {
    const [tokens, heads] = size
    const role = trained ? 'inout' : 'in'
    return operationCase({
      name: `deltaGatesBackward of ${size.join(' x ')}${trained ? '' : ', frozen'}`,
      operands: {
        ...gateOperands(size),
        g: { shape: size, dtype: 'float32' },
        beta: { shape: size, dtype: 'float32' },
        dG: { shape: size, dtype: 'float32' },
        dBeta: { shape: size, dtype: 'float32' },
        dA: { shape: size, dtype: 'activation', role: 'out' },
        dB: { shape: size, dtype: 'activation', role: 'out' },
        dLogRate: { shape: [heads], dtype: 'float32', role },
        dBias: { shape: [heads], dtype: 'float32', role },
      },
      slack: { float32: 1e-5, bfloat16: 1e-5 },
      call: ({ dLogRate, dBias, ...others }) =>
        native.deltaGatesBackward({ ...others, ...(trained && { dLogRate, dBias }) }),
      reference: ({ a, logRate, bias, g, beta, dG, dBeta, dLogRate, dBias }) => {
        const dStep = (t: number, h: number) =>
          -dG.at(t, h) * Math.exp(logRate.at(h)) * sigmoid(a.at(t, h) + bias.at(h))
        return {
          dA: Host.of(size, dStep),
          dB: Host.of(size, (t, h) => dBeta.at(t, h) * beta.at(t, h) * (1 - beta.at(t, h))),
          dLogRate: Host.of([heads], (h) => dLogRate.at(h) + sum(tokens, (t) => dG.at(t, h) * g.at(t, h))),
          dBias: Host.of([heads], (h) => dBias.at(h) + sum(tokens, (t) => dStep(t, h))),
        }
      },
    })
  }),
)

type DeltaOperation = 'gatedDeltaRule' | 'gatedDeltaRuleBackward' | 'deltaGates' | 'deltaGatesBackward'

export const deltaRules: Record<DeltaOperation, OperationCase[]> = {
  gatedDeltaRule,
  gatedDeltaRuleBackward,
  deltaGates,
  deltaGatesBackward,
}
