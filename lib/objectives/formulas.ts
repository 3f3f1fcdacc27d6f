/** Formulas that several objectives have. */
import { add, logSigmoid, mul } from '../tensor/operations/arithmetic.js'
import type { Tensor } from '../tensor/tensor.js'

export const minus = (x: Tensor): Tensor => mul(x, -1)
/** 1 − x */
export const oneMinus = (x: Tensor): Tensor => add(minus(x), 1)
export const plus = (...terms: readonly Tensor[]): Tensor => terms.reduce((total, term) => add(total, term))
/** −ln σ(x) */
export const softLoss = (x: Tensor): Tensor => minus(logSigmoid(x))
/** −(1 − ε) ln σ(x) − ε ln σ(−x) */
export const smoothedLoss = (x: Tensor, epsilon: number): Tensor =>
  epsilon === 0 ? softLoss(x) : plus(mul(softLoss(x), 1 - epsilon), mul(softLoss(minus(x)), epsilon))
