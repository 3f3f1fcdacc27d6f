/** Operations for writing a ΔW: their gradients, and results in given memory. */
import { describe, expect, test } from 'vitest'
import { mul } from '../../lib/tensor/operations/arithmetic.js'
import { onDiagonal, scaleRows, scatter, transpose, weighted } from '../../lib/tensor/operations/factors.js'
import { product } from '../../lib/tensor/operations/products.js'
import { norms } from '../../lib/tensor/operations/reductions.js'
import { reshape } from '../../lib/tensor/operations/reshaping.js'
import { scope } from '../../lib/tensor/scope.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { checkGradients, type GradientCase, gradientCase } from './gradients.js'
import { testDevice } from './harness.js'

const device = testDevice()
const parameter = (...shape: number[]) => ({ shape, kind: 'parameter' }) as const
const places = () => Tensor.from(Int32Array.of(5, 0, 9), [3], { device, dtype: 'int32' })

const products = [false, true].flatMap((transposeA) =>
  [false, true].flatMap((transposeB) => {
    const sides = (rows: number, columns: number, turned: boolean) => (turned ? [columns, rows] : [rows, columns])
    const [a, b] = [sides(3, 4, transposeA), sides(4, 5, transposeB)]
    const options = { transposeA, transposeB }
    const name = `${transposeA ? 'Aᵀ' : 'A'} ${transposeB ? 'Bᵀ' : 'B'}`
    return [
      gradientCase({
        name,
        inputs: { a: parameter(...a), b: parameter(...b) },
        forward: ({ a, b }) => product(a, b, options),
      }),
      ...[false, true].map((sideBySide) =>
        gradientCase({
          name: `${name} of two each${sideBySide ? ', side by side' : ''}`,
          inputs: { a: parameter(2, ...a), b: parameter(2, ...b) },
          forward: ({ a, b }) => product(a, b, { ...options, sideBySide }),
        }),
      ),
    ]
  }),
)

const cases: GradientCase[] = [
  ...products,
  gradientCase({
    name: 'a product added to what there is',
    inputs: { a: parameter(3, 2), b: parameter(2, 4), c: parameter(3, 4) },
    forward: ({ a, b, c }) => product(a, b, { onto: mul(c, 2) }),
  }),
  gradientCase({
    name: 'rows scaled',
    inputs: { x: parameter(3, 5), f: parameter(3) },
    forward: ({ x, f }) => scaleRows(x, f),
  }),
  gradientCase({
    name: 'rows of matrices scaled',
    inputs: { x: parameter(2, 3, 4), f: parameter(2, 3) },
    forward: ({ x, f }) => scaleRows(x, f),
  }),
  gradientCase({
    name: 'rows of a constant scaled',
    inputs: { f: parameter(3) },
    forward: ({ f }, constant) => scaleRows(constant([3, 5], 'bfloat16'), f),
  }),
  gradientCase({
    name: 'weighted by a constant',
    inputs: { x: parameter(3, 5) },
    forward: ({ x }, constant) => weighted(mul(x, 2), constant([3, 5])),
  }),
  gradientCase({ name: 'blocks on a diagonal', inputs: { x: parameter(3, 6, 2) }, forward: ({ x }) => onDiagonal(x) }),
  gradientCase({ name: 'scattered', inputs: { x: parameter(3) }, forward: ({ x }) => scatter(x, places(), [2, 5]) }),
  gradientCase({ name: 'transposed', inputs: { x: parameter(2, 3, 4) }, forward: ({ x }) => transpose(x) }),
  gradientCase({ name: 'reshaped', inputs: { x: parameter(2, 6) }, forward: ({ x }) => reshape(transpose(x), [3, 4]) }),
  gradientCase({ name: 'norms', inputs: { x: parameter(3, 5) }, forward: ({ x }) => norms(x) }),
  gradientCase({ name: 'norms above a least one', inputs: { x: parameter(3, 5) }, forward: ({ x }) => norms(x, 0.5) }),
]

describe('gradients', () => {
  test.each(cases.map((each) => [each.name, each] as const))('%s', (_, each) => checkGradients(each))
})

test('blocks of a diagonal take turns among the parts', async () => {
  using y = scope(() => onDiagonal(Tensor.from([1, 2, 3, 4], [2, 2, 1], { device })))
  expect([...(await y.data())]).toEqual([1, 0, 0, 3, 2, 0, 0, 4])
})

test('a norm that is less than the least counts as exactly that', async () => {
  const least = 0.1
  using y = scope(() => norms(Tensor.from([0, 0, 0.05, 0.05, 3, 4], [3, 2], { device }), least))
  expect([...(await y.data())]).toEqual([Math.fround(least), Math.fround(least), 5])
})
