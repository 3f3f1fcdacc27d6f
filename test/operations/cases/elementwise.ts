import { type Elementwise, native } from '../../../lib/native/addon.js'
import { type OperationCase, operationCase } from '../harness.js'
import { Host, sum as total } from '../host.js'

/** Functions by their definitions. */
const ofOne: Partial<Record<Elementwise, (a: number) => number>> = {
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  tanh: Math.tanh,
  sigmoid: (a) => 1 / (1 + Math.exp(-a)),
  softplus: (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a))),
}
const ofTwo: Partial<Record<Elementwise, (a: number, b: number) => number>> = {
  multiply: (a, b) => a * b,
  divide: (a, b) => a / b,
  sqrtGradient: (a, b) => a / (2 * b),
  tanhGradient: (a, b) => a * (1 - b ** 2),
  sigmoidGradient: (a, b) => a * b * (1 - b),
  softplusGradient: (a, b) => a / (1 + Math.exp(-b)),
}

const shapes = [[1], [13], [3, 257], [2, 3, 5], [0, 4], [60_001]] as const

/** Positive numbers, where a function or a quotient needs them, of several magnitudes. */
const positive = (random: { normal(): number }) => Math.exp(3 * random.normal())
/** Positive, and within float16's range after a few products. */
const moderate = (random: { normal(): number }) => Math.exp(0.7 * random.normal())
const values = (f: Elementwise) => (f === 'log' || f === 'sqrt' ? positive : undefined)

const results = shapes.flatMap((shape) =>
  [false, true].flatMap((accumulate) => {
    const dense = { shape, dtype: 'activation', layouts: 'dense' } as const
    const y = { ...dense, role: accumulate ? 'inout' : 'out' } as const
    const named = (f: string) => `elementwise ${f} of [${shape.join(', ')}]${accumulate ? ', added' : ''}`
    const before = (host: Host, i: number) => (accumulate ? host.values[i]! : 0)
    const unary = Object.entries(ofOne).map(([name, f]) =>
      operationCase({
        name: named(name),
        operands: { a: { ...dense, values: values(name as Elementwise) }, y },
        call: ({ a, y }) => native.elementwise(name as Elementwise, a, null, y, accumulate),
        reference: ({ a, y }) => ({
          y: new Host(
            shape,
            a.values.map((value, i) => f(value) + before(y, i)),
          ),
        }),
      }),
    )
    const binary = Object.entries(ofTwo).map(([name, f]) =>
      operationCase({
        name: named(name),
        operands: { a: dense, b: { ...dense, values: moderate }, y },
        call: ({ a, b, y }) => native.elementwise(name as Elementwise, a, b, y, accumulate),
        reference: ({ a, b, y }) => ({
          y: new Host(
            shape,
            a.values.map((value, i) => f(value, b.values[i]!) + before(y, i)),
          ),
        }),
      }),
    )
    return [...unary, ...binary]
  }),
)

/** The ends of float32's range, each compared relative to its own size. */
const ends: [Elementwise, number][] = [
  ...[-1e9, -104, -87.5, -1e-3, 0, 88, 1e9].map((a): [Elementwise, number] => ['exp', a]),
  ...[0, 1e-40, 1e-30, 0.7, 0.9999, 1, 1.00001, 1.5, 3e38, Infinity, -1].map((a): [Elementwise, number] => ['log', a]),
  ...[-1e9, -20, -1e-6, 1e-6, 20].map((a): [Elementwise, number] => ['tanh', a]),
  ...[-80, -10, 0, 30].map((a): [Elementwise, number] => ['sigmoid', a]),
  ...[-1e9, -104, -87.5, -17, -3, -1e-6, 0, 0.3, 1, 17, 1e9, Infinity, -Infinity].map((a): [Elementwise, number] => [
    'softplus',
    a,
  ]),
  ...[0, 1e-30, 3e38].map((a): [Elementwise, number] => ['sqrt', a]),
]
const alone = ends.map(([f, a]) =>
  operationCase({
    name: `elementwise ${f} of ${a}`,
    dtypes: ['float32'],
    operands: {
      a: { shape: [1], dtype: 'activation', values: [a] },
      y: { shape: [1], dtype: 'activation', role: 'out' },
    },
    slack: { float32: 2e-6 },
    call: ({ a, y }) => native.elementwise(f, a, null, y, false),
    reference: ({ a }) => ({ y: a.map((value) => Math.fround(ofOne[f]!(value))) }),
  }),
)

const inPlace = operationCase({
  name: 'elementwise in the memory of an operand',
  operands: { a: { shape: [37], dtype: 'activation', role: 'inout' }, b: { shape: [37], dtype: 'activation' } },
  call: ({ a, b }) => native.elementwise('multiply', a, b, a, false),
  reference: ({ a, b }) => ({
    a: new Host(
      [37],
      a.values.map((value, i) => value * b.values[i]!),
    ),
  }),
})

const rowSizes = [
  [1, 1],
  [5, 7],
  [3, 257],
  [0, 9],
  [41, 1031],
] as const

/** Large ones too: their exponentials overflow without the maximum. */
const spread = (random: { normal(): number }, i: number) => (i % 11 === 3 ? 90 : 0) + 4 * random.normal()

function softmaxOf(x: Host, logarithm: boolean): Host {
  const logarithms = Array.from({ length: x.shape[0]! }, (_, row) => {
    const values = Array.from({ length: x.shape[1]! }, (_, j) => x.at(row, j))
    const most = Math.max(...values)
    return most + Math.log(total(values.length, (j) => Math.exp(values[j]! - most)))
  })
  return Host.of(x.shape, (row, j) => {
    const value = x.at(row, j) - logarithms[row]!
    return logarithm ? value : Math.exp(value)
  })
}

const softmaxRows = rowSizes.flatMap(([rows, columns]) =>
  [false, true].flatMap((logarithm) => {
    const name = `softmaxRows${logarithm ? ', logarithm,' : ''} of [${rows}, ${columns}]`
    const x = { shape: [rows, columns], dtype: 'activation', values: spread } as const
    return [
      operationCase({
        name,
        operands: { x, y: { shape: [rows, columns], dtype: 'activation', role: 'out' } },
        call: ({ x, y }) => native.softmaxRows(x, logarithm, y),
        reference: ({ x }) => ({ y: softmaxOf(x, logarithm) }),
      }),
      operationCase({
        name: `${name} in place`,
        operands: { x: { ...x, role: 'inout' } },
        call: ({ x }) => native.softmaxRows(x, logarithm, x),
        reference: ({ x }) => ({ x: softmaxOf(x, logarithm) }),
      }),
    ]
  }),
)

const softmaxRowsBackward = rowSizes.flatMap(([rows, columns]) =>
  [false, true].flatMap((logarithm) =>
    [false, true].map((accumulate) => {
      const matrix = { shape: [rows, columns], dtype: 'activation' } as const
      return operationCase({
        name: `softmaxRowsBackward${logarithm ? ', logarithm,' : ''} of [${rows}, ${columns}]${accumulate ? ', added' : ''}`,
        operands: {
          dY: matrix,
          // Results of a softmax that need not sum to 1: the formula uses them unchanged.
          y: { ...matrix, values: (random) => (logarithm ? Math.log(random.uniform() + 1e-3) : random.uniform()) },
          dX: { ...matrix, role: accumulate ? 'inout' : 'out' },
        },
        slack: { float32: 1e-5, bfloat16: 1e-5 },
        call: ({ dY, y, dX }) => native.softmaxRowsBackward({ dY, y, logarithm, dX, accumulate }),
        reference: ({ dY, y, dX }) => {
          const sums = Array.from({ length: rows }, (_, row) =>
            total(columns, (k) => dY.at(row, k) * (logarithm ? 1 : y.at(row, k))),
          )
          const result = Host.of(matrix.shape, (row, j) => {
            const value = logarithm
              ? dY.at(row, j) - Math.exp(y.at(row, j)) * sums[row]!
              : y.at(row, j) * (dY.at(row, j) - sums[row]!)
            return value + (accumulate ? dX.at(row, j) : 0)
          })
          return { dX: result }
        },
      })
    }),
  ),
)

export const elementwiseOperations: Record<'elementwise' | 'softmaxRows' | 'softmaxRowsBackward', OperationCase[]> = {
  elementwise: [...results, ...alone, inPlace],
  softmaxRows,
  softmaxRowsBackward,
}
