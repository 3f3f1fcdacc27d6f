/** Public matrix products, for custom objectives, heads and adapters. */
import { native } from '../../native/addon.js'
import { together } from '../destination.js'
import { Parameter } from '../parameter.js'
import { scope } from '../scope.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'
import { weightOf } from '../weight.js'
import { addBias, weightProduct } from './linear.js'
import { dense, requireFloats, requireShape, unfit } from './shaped.js'

/**
 * Returns y [N, d] = x [N, k] weight [d, k]ᵀ + bias [d], in x's dtype with float32 sums. Gradients reach x, and weight and bias
 * if they are parameters (float32).
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  requireShape('x', x, 'N, k')
  requireShape('weight', weight, 'd, k')
  const [features, width] = weight.shape as readonly [number, number]
  if (x.shape[1] !== width) throw unfit(`[N, k] and [d, k] for x and weight`, x, weight)
  const factor = weightOf(weight)
  if (bias === undefined) return weightProduct(x, factor)
  requireFloats('bias', bias)
  if (bias.shape.join() !== `${features}`) throw unfit(`[${features}] for bias`, bias)
  return scope(() => {
    const into = { target: Tensor.empty([x.shape[0]!, features], x), accumulate: false }
    return together(into, [(part) => weightProduct(x, factor, part), (part) => addBias(bias, part)])
  })
}

/** Returns a [M, K] b [K, N], in a's dtype with float32 sums. Either may be a parameter; any other b has a's dtype or float32. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  requireShape('a', a, 'M, K')
  requireShape('b', b, 'K, N')
  if (a.shape[1] !== b.shape[0]) throw unfit('[M, K] and [K, N] for a and b', a, b)
  return product(a, b)
}

/** The storage of the operands of `product`, and the place of the result. */
export interface ProductOptions {
  /** a is stored as [..., K, M]. */
  readonly transposeA?: boolean
  /** b is stored as [..., N, K]. */
  readonly transposeB?: boolean
  /** The results of n products are one matrix [M, n · N]. */
  readonly sideBySide?: boolean
  /** The product is added to this tensor, in its memory: it must be the result of the operation before, with no other use. */
  readonly onto?: Tensor
}

/** Like `matmul`, for two matrices or batches of n: [n, M, K] and [n, K, N], whose rows may have gaps between them. */
export function product(a: Tensor, b: Tensor, options: ProductOptions = {}): Tensor {
  const { transposeA = false, transposeB = false, sideBySide = false, onto } = options
  const [n, rows, columns] = [a.shape[0]!, a.shape.at(transposeA ? -1 : -2)!, b.shape.at(transposeB ? -2 : -1)!]
  const shape = sideBySide ? [rows, n * columns] : [...a.shape.slice(0, -2), rows, columns]
  const each = (y: Tensor) => (sideBySide ? y.view([n, rows, columns], [columns, y.strides[0]!, 1]) : y).native
  return scope(() => {
    const factor = b instanceof Parameter ? b.as(a.dtype) : b
    const y = onto ? onto.view(shape) : Tensor.empty(shape, a)
    native.matmul({
      a: a.native,
      transposeA,
      b: factor.native,
      transposeB,
      c: each(y),
      accumulate: onto !== undefined,
    })
    const inputs = onto ? [a, b, onto] : [a, b]
    return record(y, inputs, [a, factor], (dY, [left, right], [dA, dB, dOnto]) => {
      const [p, q, g] = [left!.native, right!.native, each(sideBySide ? dY : dense(dY))]
      dA!.write(({ native: c }, accumulate) => {
        if (transposeA) native.matmul({ a: q, transposeA: transposeB, b: g, transposeB: true, c, accumulate })
        else native.matmul({ a: g, b: q, transposeB: !transposeB, c, accumulate })
      })
      dB!.write(({ native: c }, accumulate) => {
        if (transposeB) native.matmul({ a: g, transposeA: true, b: p, transposeB: transposeA, c, accumulate })
        else native.matmul({ a: p, transposeA: !transposeA, b: g, c, accumulate })
      })
      dOnto?.pass(dY)
    })
  })
}
