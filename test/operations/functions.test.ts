/** The functions for custom objectives: gradients, values, broadcast shapes, error messages. */
import { afterAll, describe, expect, test } from 'vitest'
import {
  add,
  cast,
  clamp,
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
import { logSoftmax, logSumExp, mean, softmax, sum } from '../../lib/tensor/operations/reductions.js'
import { concat, reshape, stack } from '../../lib/tensor/operations/reshaping.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { noGrad } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { drawnIfEmulated } from '../drawn.js'
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

/** Indices for each place beside an axis, some of them twice. */
const someIndices = (shape: readonly number[], axis: number, each: number) => {
  const places = shape.reduce((product, size) => product * size, 1) / shape[axis]!
  return Array.from({ length: each * places }, (_, i) => (i * i + 2 * i) % shape[axis]!)
}

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
  ...[[7], [5, 3], [2, 3, 5], [3, 2, 4, 2]].flatMap((shape) => {
    const x = { shape, kind: 'activation' } as const
    const axes = [...shape.keys()]
    const pairs = axes.flatMap((a) => axes.filter((b) => b !== a).map((b) => [a, b]))
    return [
      ...[...axes, ...pairs].flatMap((over) => [
        gradientCase({ name: `sum of [${shape}] over ${over}`, inputs: { x }, forward: ({ x }) => sum(x, over) }),
        gradientCase({
          name: `mean of [${shape}] over ${over}, dimensions kept`,
          inputs: { x },
          forward: ({ x }) => mean(x, over, true),
        }),
      ]),
      ...axes.flatMap((axis) => [
        gradientCase({
          name: `logSumExp of [${shape}] over ${axis}`,
          inputs: { x },
          forward: ({ x }) => logSumExp(x, axis),
        }),
        gradientCase({
          name: `concat of [${shape}] along ${axis}`,
          inputs: { x, y: { shape: shape.with(axis, 2), kind: 'activation' } },
          forward: ({ x, y }) => concat([x, y, x], axis - shape.length),
        }),
        gradientCase({
          name: `gather of [${shape}] along ${axis}`,
          inputs: { x },
          forward: ({ x }) => gather(x, someIndices(shape, axis, 1), axis),
        }),
        gradientCase({
          name: `gather of [${shape}] along ${axis}, three each`,
          inputs: { x },
          forward: ({ x }) => gather(x, someIndices(shape, axis, 3), axis),
        }),
      ]),
      ...(shape.length < 4 ? [0, 1, -1] : []).map((axis) =>
        gradientCase({
          name: `stack of [${shape}] along ${axis}`,
          inputs: { x, y: x },
          forward: ({ x, y }) => stack([y, x], axis),
        }),
      ),
      gradientCase({
        name: `reshape of [${shape}]`,
        inputs: { x },
        forward: ({ x }) => reshape(mul(x, 2), [x.elements / shape.at(-1)!, 1, shape.at(-1)!]),
      }),
    ]
  }),
  gradientCase({
    name: 'clamp',
    inputs: {
      x: { ...matrix, values: (normal, i) => [-1.5, -0.3, 0.2, 0.45, 0.9, 3][i % 6]! + 0.05 * Math.tanh(normal) },
    },
    forward: ({ x }) => clamp(x, -0.7, 0.65),
  }),
  ...(
    [
      ['a view', [7, 3], [3, 1], 0],
      ['a transposed view', [7, 3], [1, 7], 0],
      ['a part', [2, 2], [7, 2], 9],
      ['elements repeated', [4, 7], [0, 2], 1],
      ['windows that overlap', [5, 3], [2, 1], 4],
    ] as const
  ).map(([name, shape, strides, offset]) =>
    gradientCase({
      name: `${name} of a parameter`,
      inputs: { p: { shape: [3, 7], kind: 'parameter' } },
      forward: ({ p }) => mul(p.view(shape, strides, offset), 2),
    }),
  ),
  gradientCase({
    name: 'rows and columns of a parameter',
    inputs: { p: { shape: [3, 7], kind: 'parameter' } },
    forward: ({ p }) =>
      concat([p.rows(1, 3), p.columns(2, 4), slice(p, 0, 1)].map((part) => reshape(part, [part.elements]))),
  }),
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
  const all = drawnIfEmulated('gradients of functions', [...binary, ...unary, ...others], 40)
  test.each(all.map((each) => [each.name, each] as const))('%s', (_, each) => checkGradients(each))
})

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

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
    ['sum over the first axis', () => sum(a(), 0), [5, 7, 9], [3]],
    ['sum over both, kept', () => sum(a(), [0, -1], true), [21], [1, 1]],
    ['sum over none', () => sum(a(), []), [1, 2, 3, 4, 5, 6], [2, 3]],
    ['sum of nothing', () => sum(of([], [0, 3]), 0), [0, 0, 0], [3]],
    ['mean over the first axis, kept', () => mean(a(), 0, true), [2.5, 3.5, 4.5], [1, 3]],
    ['gather along the first axis', () => gather(a(), [1, 0, 1], 0), [4, 2, 6], [3]],
    ['concat of columns', () => concat([a(), of([7, 8], [2, 1])], 1), [1, 2, 3, 7, 4, 5, 6, 8], [2, 4]],
    ['stack behind', () => stack([of([1, 2], [2]), of([3, 4], [2])], -1), [1, 3, 2, 4], [2, 2]],
    ['reshape of what has gaps', () => reshape(a().view([3, 2], [1, 3]), [2, 3]), [1, 4, 2, 5, 3, 6], [2, 3]],
    [
      'logSumExp of far values',
      () => logSumExp(of([1000, 1000, -1000, -1003], [2, 2])),
      [1000.693147, -999.951413],
      [2],
    ],
    ['logSumExp of a column', () => logSumExp(of([0, 0, 0], [3, 1]), 0), [1.098612], [1]],
    [
      'logSumExp of infinite values',
      () => logSumExp(of([-Infinity, 3, -Infinity, -Infinity, Infinity, 1], [3, 2])),
      [3, -Infinity, Infinity],
      [3],
    ],
    ['gatherRows', () => gatherRows(a(), [1, 1, 0]), [4, 5, 6, 4, 5, 6, 1, 2, 3], [3, 3]],
    ['a transposed view', () => mul(a().view([3, 2], [1, 3]), 2), [2, 8, 4, 10, 6, 12], [3, 2]],
  ])('%s', async (_, make, values, shape) => {
    const y = scope(make)
    expect(y.shape).toEqual(shape)
    const got = Array.from((await y.data()) as Float32Array)
    for (const [i, value] of values.entries()) {
      if (Number.isFinite(value)) expect(got[i]).toBeCloseTo(value, Math.abs(value) > 100 ? 3 : 5)
      else expect(got[i]).toBe(value)
    }
    y.dispose()
  })

  test.each([
    [-1.2, 0.7],
    [0, 0],
    [1e-3, 2],
    [-3e9, -2],
    [-Infinity, 0.3],
    [0.3, Infinity],
    [-Infinity, Infinity],
  ])('clamp between %d and %d changes no element that is between', async (min, max) => {
    const values = [-Infinity, Infinity, Number.NaN, 0, min, max, -1e30, 3e38, 1e-40, -7, 0.1, 0.3, 0.69, 1 / 3, 1.999]
    const x = Float32Array.from(values)
    const [low, high] = [Math.fround(min), Math.fround(max)]
    const y = scope(() => clamp(of([...x], [x.length]), min, max))
    const got = await y.data()
    expect([...(got as Float32Array)].map((value) => value + 0)).toEqual(
      [...x].map((value) => Math.min(Math.max(value, low), high) + 0),
    )
    y.dispose()
  })

  test.each([
    ['float32', 300, 1031, 3],
    ['float32', 5, 50_257, 30],
    ['bfloat16', 7, 129, 8],
  ] as const)('logSumExp in %s of [%d, %d] is that of float64', async (dtype, rows, columns, spread) => {
    const values = Float32Array.from({ length: rows * columns }, (_, i) => spread * Math.sin(i * i + 1) + (i % 7))
    const x = Tensor.from(values, [rows, columns], { device: testDevice(), dtype })
    const rounded = (await x.data()) as Float32Array
    const y = scope(() => logSumExp(x))
    for (const [row, value] of ((await y.data()) as Float32Array).entries()) {
      const own = rounded.subarray(row * columns, (row + 1) * columns)
      const most = own.reduce((a, b) => Math.max(a, b))
      const wanted = most + Math.log(own.reduce((total, one) => total + Math.exp(one - most), 0))
      expect(Math.abs(value / wanted - 1)).toBeLessThan(5e-7)
    }
    for (const tensor of [x, y]) tensor.dispose()
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
      () => sum(mul(x, p), 0),
      () => logSumExp(mul(x, p), 0),
      () => clamp(mul(x, p), -1, 3),
      () => stack([x, mul(x, p)], 1),
      () => mul(p.view([2, 2], [0, 1]), 2),
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
  afterAll(() => {
    for (const tensor of [a, half, ids]) tensor.dispose()
  })

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
    ['another axis', () => sum(a, 2), /^Expected a whole number from -2 to 1 for axes but received 2\.$/],
    ['an axis twice', () => sum(a, [1, -1]), /^Expected each axis once for axes but received \[1,-1\]\.$/],
    [
      'no axis',
      () => logSumExp(a, 'first' as never),
      /^Expected a whole number from -2 to 1 for axis but received "first"\.$/,
    ],
    [
      'another size',
      () => reshape(a, [4, 2]),
      /^Expected as many elements as \[4, 2\] has \(8\) for x but received float32 \[2, 3\]\.$/,
    ],
    ['nothing to join', () => concat([]), /^Expected a list of at least one Tensor for tensors but received/],
    [
      'rows of another width',
      () => concat([a, of([1, 2], [1, 2])]),
      /^Expected tensors of one dtype, with the same sizes except along axis 0, for tensors\[0\] and tensors\[1\] but received float32 \[2, 3\] and float32 \[1, 2\]\.$/,
    ],
    [
      'other shapes',
      () => stack([a, a, half]),
      /^Expected tensors of one shape and dtype for tensors\[0\] and tensors\[2\] but received/,
    ],
    [
      'bounds that cross',
      () => clamp(a, 2, 1),
      /^Expected a number of at least min \(2\), or Infinity, for max but received 1\.$/,
    ],
    [
      'an index too far',
      () => gather(a, [0, 3]),
      /^Expected whole numbers from 0 to 2 for indices but received 3 at place 1\.$/,
    ],
    [
      'too few indices',
      () => gather(a, [0]),
      /^Expected 2 or a multiple of it for the number of indices \(1\) along axis 1 into x but received float32 \[2, 3\]\.$/,
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
    expect(() => scope(() => void call())).toThrow(sentence)
  })

  test('a backward pass from more than a scalar', async () => {
    await expect(a.backward()).rejects.toThrow(
      /^Expected a scalar to go backward from \(sum and mean make one\) but received float32 \[2, 3\]\.$/,
    )
  })

  test('the value of more than one element', async () => {
    await expect(a.item()).rejects.toThrow(
      /^Expected a tensor of one element for item but received float32 \[2, 3\]; data reads all\.$/,
    )
  })

  test('a backward pass from a constant', async () => {
    const p = new Parameter('p', of([1, 2], [2]))
    const constants = [sum(a), noGrad(() => sum(p)), scope(() => sum(reshape(a, [6]).view([2, 3])))]
    for (const constant of constants) {
      await expect(constant.backward()).rejects.toThrow(
        /^Expected a scalar that was computed from a parameter to go backward from, but this is a constant: /,
      )
      constant.dispose()
    }
    p.dispose()
  })

  test('a view with gradients of a parameter that has gaps', () => {
    const p = new Parameter('p', a.view([3, 2], [1, 3]))
    expect(() => p.view([2])).toThrow(
      /^Expected a dense parameter for a view with gradients, but p has strides \[1, 3\]/,
    )
    p.dispose()
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
