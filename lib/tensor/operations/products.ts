/** Matrix products as whoever writes an objective or a head of one's own calls them. */
import { native } from '../../native.js'
import { together } from '../destination.js'
import { scope } from '../scope.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'
import { weightOf } from '../weight.js'
import { addBias, linear as product } from './linear.js'
import { dense, requireFloats, requireShape, unfit } from './shaped.js'

/**
 * y [N, d] = x [N, k] weight [d, k]ᵀ + bias [d], in x's dtype with float32 sums. Gradients reach x, and weight and bias where
 * they are parameters (float32).
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  requireShape('x', x, 'N, k')
  requireShape('weight', weight, 'd, k')
  const [features, width] = weight.shape as readonly [number, number]
  if (x.shape[1] !== width) throw unfit(`[N, k] and [d, k] for x and weight`, x, weight)
  const factor = weightOf(weight)
  if (bias === undefined) return product(x, factor)
  requireFloats('bias', bias)
  if (bias.shape.join() !== `${features}`) throw unfit(`[${features}] for bias`, bias)
  return scope(() => {
    const into = { target: Tensor.empty([x.shape[0]!, features], x), accumulate: false }
    return together(into, [(part) => product(x, factor, part), (part) => addBias(bias, part)])
  })
}

/** a [M, K] b [K, N], in a's dtype with float32 sums. Either may be a parameter; another b has a's dtype or is float32. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  requireShape('a', a, 'M, K')
  requireShape('b', b, 'K, N')
  if (a.shape[1] !== b.shape[0]) throw unfit('[M, K] and [K, N] for a and b', a, b)
  return scope(() => {
    const y = Tensor.empty([a.shape[0]!, b.shape[1]!], a)
    const factor = weightOf(b)
    // What is a weight's gradient product is the product here: b is not transposed.
    factor.multiplyGradient(a, y, 1, false)
    return record(y, [a, b], [a, b], (dY, [left], [dA, dB]) => {
      const gradient = dense(dY)
      dA!.write((target, add) => factor.multiply(gradient, target, 1, add))
      dB!.write((target, add) =>
        native.matmul({ a: left!.native, transposeA: true, b: gradient.native, c: target.native, accumulate: add }),
      )
    })
  })
}
