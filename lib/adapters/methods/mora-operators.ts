/** MoRA's operators, and the side of the square matrix that they share. */
import { z } from 'zod'
import { check, wholeFrom } from '../../common/arguments.js'

/** MoRA's operators, which mora.ts describes. */
export const OPERATORS = [
  'rotation',
  'sharing',
  'sharing-grouped',
  'sharing-grouped-in',
  'sharing-grouped-out',
  'decoupling',
  'truncation',
] as const

/** An operator of MoRA: compression of a layer's inputs and decompression to its outputs; docs/methods/mora.md describes each. */
export type Operator = (typeof OPERATORS)[number]

/** Returns the highest rank whose R is not limited by max(k, d). */
export function mostRank(inFeatures: number, outFeatures: number): number {
  return Math.ceil((Math.max(inFeatures, outFeatures) + 0.5) ** 2 / (inFeatures + outFeatures)) - 1
}

const aSize = wholeFrom(1)
const squareSideArguments = {
  inFeatures: aSize,
  outFeatures: aSize,
  rank: aSize,
  roundRank: aSize,
  operator: z.enum(OPERATORS),
}

/**
 * Returns R, the side of MoRA's square matrix: √((k + d) · rank), rounded half up as in the reference (the paper, Section 4,
 * rounds down), so that R² is close to the parameters of a LoRA of that rank. Rotation needs an even R and rounds it down. R is
 * at most max(k, d). With `roundRank`, R is rounded to its nearest multiple, unless only 0 fits.
 */
export function squareSide(
  inFeatures: number,
  outFeatures: number,
  rank: number,
  operator: Operator,
  roundRank = 1,
): number {
  check({ inFeatures, outFeatures, rank, roundRank, operator }, squareSideArguments)
  const limit = Math.max(inFeatures, outFeatures)
  const side = Math.floor(Math.sqrt((inFeatures + outFeatures) * rank) + 0.5)
  const limited = Math.max(1, Math.min(side, limit))
  const multiple = Math.min(Math.round(limited / roundRank), Math.floor(limit / roundRank)) * roundRank
  const rounded = multiple > 0 ? multiple : limited
  return operator === 'rotation' ? Math.max(2, rounded - (rounded % 2)) : rounded
}
