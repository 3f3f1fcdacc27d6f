/** The functions for custom objectives: gradients, values, broadcast shapes, error messages. */
import { describe, expect, test } from 'vitest'
import {
  add,
  cast,
  div,
  exp,
  log,
  logSigmoid,
  mul,
  relu,
  sigmoid,
  softplus,
  sqrt,
  square,
  sub,
  tanh,
} from '../../lib/tensor/operations/arithmetic.js'
import { gather, gatherRows, slice } from '../../lib/tensor/operations/indexing.js'
import { linear, matmul } from '../../lib/tensor/operations/products.js'
import { logSoftmax, mean, softmax, sum } from '../../lib/tensor/operations/reductions.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { liveBytes } from '../live-bytes.js'
import { checkGradients, type GradientCase, gradientCase } from './gradients.js'
import { testDevice } from './harness.js'

const matrix = { shape: [3, 7], kind: 'activation' } as const
const awayFromZero = (normal: number) => normal + 2 * Math.sign(normal)
const positive = (normal: number) => 1 + Math.abs(normal)

const binary = Object.entries({ add, sub, mul, div }).flatMap(([name, f]) => [
  gradientCase({
    name: `${name} of two`,
    inputs: { a: matrix, b: { ...matrix, values: awayFromZero } },
    forward: ({ a, b }) => f(a, b),
  }),
  gradientCase({
    name: `${name} of one with itself`,
    inputs: { a: { ...matrix, values: awayFromZero } },
    forward: ({ a }) => f(a, a),
  }),
  ...[[7], [1, 7], [3, 1]].flatMap((shape) => [
    gradientCase({
      name: `${name} with [${shape.join(', ')}] repeated`,
      inputs: { a: matrix, b: { shape, kind: 'activation', values: awayFromZero } },
      forward: ({ a, b }) => f(a, b),
    }),
    gradientCase({
      name: `${name} of [${shape.join(', ')}], repeated, and a matrix`,
      inputs: { a: { shape, kind: 'activation' }, b: { ...matrix, values: awayFromZero } },
      forward: ({ a, b }) => f(a, b),
    }),
  ]),
  // Values have one sign, since 16 bits lose what cancels.
  gradientCase({
    name: `${name} with a scalar repeated`,
    inputs: { a: { ...matrix, values: positive }, b: { shape: [1], kind: 'activation', values: positive } },
    forward: ({ a, b }) => sum(f(a, b)),
  }),
  gradientCase({
    name: `${name} of a scalar, repeated, and a matrix`,
    inputs: { a: { shape: [1], kind: 'activation', values: positive }, b: { ...matrix, values: positive } },
    forward: ({ a, b }) => sum(f(a, b)),
  }),
  gradientCase({ name: `${name} with a number`, inputs: { a: matrix }, forward: ({ a }) => f(a, 1.5) }),
  gradientCase({
    name: `${name} of a number`,
    inputs: { b: { ...matrix, values: awayFromZero } },
    forward: ({ b }) => f(1.5, b),
  }),
])

const unary = Object.entries({
  exp: { f: (x: Tensor) => exp(mul(x, 0.25)) },
  log: { f: log, values: positive },
  sqrt: { f: sqrt, values: positive },
  tanh: { f: tanh },
  sigmoid: { f: sigmoid },
  softplus: { f: softplus },
  logSigmoid: { f: logSigmoid },
  square: { f: square },
  relu: { f: relu, values: awayFromZero },
}).flatMap(([name, { f, values }]: [string, { f: (x: Tensor) => Tensor; values?: (normal: number) => number }]) =>
  [[13], [3, 7], [2, 3, 5]].map((shape) =>
    gradientCase({
      name: `${name} of [${shape.join(', ')}]`,
      inputs: { x: { shape, kind: 'activation', values } },
      forward: ({ x }) => f(x),
    }),
  ),
)

const others: GradientCase[] = [
  gradientCase({
    name: 'cast',
    inputs: { x: matrix },
    forward: ({ x }) => cast(mul(x, 2), 'float32'),
  }),
  ...[[13], [3, 7], [2, 3, 5]].flatMap((shape) => [
    gradientCase({
      name: `sum of [${shape}]`,
      inputs: { x: { shape, kind: 'activation' } },
      forward: ({ x }) => sum(x),
    }),
    gradientCase({
      name: `sum of [${shape}] over its last axis`,
      inputs: { x: { shape, kind: 'activation' } },
      forward: ({ x }) => sum(x, -1),
    }),
    gradientCase({
      name: `mean of [${shape}] over its last axis`,
      inputs: { x: { shape, kind: 'activation' } },
      forward: ({ x }) => mean(x, -1),
    }),
    gradientCase({
      name: `softmax of [${shape}]`,
      inputs: { x: { shape, kind: 'activation' } },
      forward: ({ x }) => softmax(x),
    }),
    gradientCase({
      name: `logSoftmax of [${shape}]`,
      inputs: { x: { shape, kind: 'activation' } },
      forward: ({ x }) => logSoftmax(x),
    }),
  ]),
  gradientCase({
    name: 'gatherRows, repeated',
    inputs: { x: matrix },
    forward: ({ x }) => gatherRows(x, [2, 0, 2, 2]),
  }),
  gradientCase({ name: 'gather', inputs: { x: matrix }, forward: ({ x }) => gather(x, [6, 0, 3]) }),
  gradientCase({
    name: 'gather of two each',
    inputs: { x: matrix },
    forward: ({ x }) => gather(x, [6, 0, 3, 3, 1, 2]),
  }),
  gradientCase({ name: 'slice', inputs: { x: matrix }, forward: ({ x }) => slice(mul(x, 2), 1, 3) }),
  gradientCase({
    name: 'linear with a bias',
    inputs: {
      x: matrix,
      weight: { shape: [5, 7], kind: 'parameter' },
      bias: { shape: [5], kind: 'parameter' },
    },
    forward: ({ x, weight, bias }) => linear(x, weight, bias),
  }),
  gradientCase({
    name: 'matmul with a parameter',
    inputs: { a: matrix, b: { shape: [7, 5], kind: 'parameter' } },
    forward: ({ a, b }) => matmul(a, b),
  }),
  gradientCase({
    name: 'matmul of activations',
    inputs: { a: matrix, b: { shape: [7, 5], kind: 'activation' } },
    forward: ({ a, b }) => matmul(a, b),
  }),
]

describe('gradients', () => {
  test.each([...binary, ...unary, ...others].map((each) => [each.name, each] as const))('%s', (_, each) =>
    checkGradients(each),
  )
})

const of = (values: number[], shape: number[]) => Tensor.from(values, shape, { device: testDevice() })

describe('values', () => {
  const a = () => of([1, 2, 3, 4, 5, 6], [2, 3])
  test.each<[string, () => Tensor, number[], number[]]>([
    ['add', () => add(a(), of([10, 20, 30], [3])), [11, 22, 33, 14, 25, 36], [2, 3]],
    ['sub of a number', () => sub(1, a()), [0, -1, -2, -3, -4, -5], [2, 3]],
    ['mul with a column', () => mul(a(), of([2, -1], [2, 1])), [2, 4, 6, -4, -5, -6], [2, 3]],
    ['div of a number', () => div(6, a()), [6, 3, 2, 1.5, 1.2, 1], [2, 3]],
    ['sum', () => sum(a()), [21], [1]],
    ['sum over the last axis', () => sum(a(), -1), [6, 15], [2]],
    ['mean', () => mean(a()), [3.5], [1]],
    ['mean over the last axis', () => mean(a(), -1), [2, 5], [2]],
    ['relu', () => relu(sub(a(), 3)), [0, 0, 0, 1, 2, 3], [2, 3]],
    ['gather', () => gather(a(), [2, 0]), [3, 4], [2]],
    ['gather of two each', () => gather(a(), [2, 0, 1, 1]), [3, 1, 5, 5], [2, 2]],
    ['gatherRows', () => gatherRows(a(), [1, 1, 0]), [4, 5, 6, 4, 5, 6, 1, 2, 3], [3, 3]],
    ['a transposed view', () => mul(a().view([3, 2], [1, 3]), 2), [2, 8, 4, 10, 6, 12], [3, 2]],
  ])('%s', async (_, make, values, shape) => {
    const y = scope(make)
    expect(y.shape).toEqual(shape)
    const got = Array.from((await y.data()) as Float32Array)
    for (const [i, value] of values.entries()) expect(got[i]).toBeCloseTo(value, 5)
    y.dispose()
  })

  test('outside of a scope only the result is left', async () => {
    const x = of([1, 2, 3, 4], [2, 2])
    const p = new Parameter('p', of([1, 2], [2]))
    const before = liveBytes(testDevice())
    for (const f of [
      () => div(x, p),
      () => logSoftmax(mul(x, p)),
      () => gather(add(x, p), [0, 1]),
      () => mean(mul(x, p), -1),
    ]) {
      const y = scope(f)
      y.dispose()
    }
    await testDevice().synchronize()
    expect(liveBytes(testDevice())).toBe(before)
    x.dispose()
    p.dispose()
  })
})

describe('a sentence for', () => {
  const a = of([1, 2, 3, 4, 5, 6], [2, 3])
  const half = Tensor.from([1, 2, 3], [3], { device: testDevice(), dtype: 'bfloat16' })
  const ids = Tensor.from([1, 2, 3], [3], { device: testDevice(), dtype: 'int32' })
  test.each<[string, () => unknown, RegExp]>([
    [
      'shapes that do not fit',
      () => add(a, of([1, 2], [2])),
      /^Expected a shape that \[2, 3\] repeats but received float32 \[2\]\.$/,
    ],
    [
      'two dtypes',
      () => mul(a, half),
      /two tensors of one dtype for mul \(cast converts\) but received float32 \[2, 3\] and bfloat16 \[3\]\.$/,
    ],
    [
      'integers',
      () => add(ids, 1),
      /^Expected a tensor of float32, bfloat16 or float16 for a but received int32 \[3\]\.$/,
    ],
    ['two numbers', () => add(1, 2), /^Expected a Tensor for a but received 1\.$/],
    ['a number that is none', () => mul(a, Number.NaN), /^Expected a finite number for b but received NaN\.$/],
    ['another axis', () => sum(a, 0 as never), /^Expected -1 \(the last axis\) or nothing for axis but received 0\.$/],
    [
      'an index too far',
      () => gather(a, [0, 3]),
      /^Expected whole numbers from 0 to 2 for indices but received 3 at place 1\.$/,
    ],
    [
      'too few indices',
      () => gather(a, [0]),
      /number of indices \(1\) into x \[N, V\] but received float32 \[2, 3\]\.$/,
    ],
    [
      'a weight of another width',
      () => linear(a, of([1, 2], [1, 2])),
      /^Expected \[N, k\] and \[d, k\] for x and weight but received/,
    ],
    [
      'a mean of nothing',
      () => mean(of([], [0, 3])),
      /^Expected at least one element for x but received float32 \[0, 3\]\.$/,
    ],
    ['a vector where rows are needed', () => linear(half, a), /^Expected x \[N, k\] but received bfloat16 \[3\]\.$/],
  ])('%s', (_, call, sentence) => {
    expect(call).toThrow(sentence)
  })

  test('a backward pass from more than a scalar', async () => {
    await expect(a.backward()).rejects.toThrow(
      /^Expected a scalar to go backward from \(sum and mean make one\) but received float32 \[2, 3\]\.$/,
    )
  })

  test('a second backward pass through one forward pass', async () => {
    const p = new Parameter('p', of([1, 2], [2]))
    const squares = square(p)
    const [first, second] = [sum(squares), mean(squares)]
    await first.backward()
    await expect(second.backward()).rejects.toThrow(/^A backward pass has been here already/)
    for (const tensor of [first, second, squares, p]) tensor.dispose()
  })
})

test('the same bits for the same threads', async () => {
  const values = Float32Array.from({ length: 300 * 257 }, (_, i) => Math.sin(i))
  const x = Tensor.from(values, [300, 257], { device: testDevice() })
  const run = () => scope(() => sum(mul(softmax(x), logSoftmax(x)), -1))
  const [first, second] = [run(), run()]
  expect(await second.data()).toEqual(await first.data())
  for (const tensor of [x, first, second]) tensor.dispose()
})
