/** Formulas that several objectives have. */
import { add, logSigmoid, mul } from '../tensor/operations/arithmetic.js'
import { gather } from '../tensor/operations/indexing.js'
import { crossEntropy } from '../tensor/operations/loss.js'
import { logSoftmax, sum } from '../tensor/operations/reductions.js'
import { Tensor } from '../tensor/tensor.js'

export const minus = (x: Tensor): Tensor => mul(x, -1)
/** 1 − x */
export const oneMinus = (x: Tensor): Tensor => add(minus(x), 1)
export const plus = (...terms: readonly Tensor[]): Tensor => terms.reduce((total, term) => add(total, term))
/** −ln σ(x) */
export const softLoss = (x: Tensor): Tensor => minus(logSigmoid(x))
/** −(1 − ε) ln σ(x) − ε ln σ(−x) */
export const smoothedLoss = (x: Tensor, epsilon: number): Tensor =>
  epsilon === 0 ? softLoss(x) : plus(mul(softLoss(x), 1 - epsilon), mul(softLoss(minus(x)), epsilon))

/** Returns the sum of the cross-entropies of scores [N, K], each times its weight, [1]. */
export function weightedCrossEntropies(scores: Tensor, targets: Int32Array, weights: Float32Array | null): Tensor {
  const { device } = scores
  const size = [targets.length]
  if (!weights) return crossEntropy(scores, Tensor.from(targets, size, { device, dtype: 'int32' }))
  const factors = weights.map((weight) => -weight)
  return sum(mul(gather(logSoftmax(scores), targets), Tensor.from(factors, size, { device })))
}
