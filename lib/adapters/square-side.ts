import type { Operator } from '../options/operators.js'

/**
 * R, the side of MoRA's square matrix: √((k + d) · rank), rounded half up as the reference does (the paper, Section 4,
 * rounds down), so that R² is close to the parameters of a LoRA of that rank. Rotation needs an even R: rounded down.
 * Never more than max(k, d).
 */
export function squareSide(inFeatures: number, outFeatures: number, rank: number, operator: Operator): number {
  const side = Math.floor(Math.sqrt((inFeatures + outFeatures) * rank) + 0.5)
  const limited = Math.max(1, Math.min(side, Math.max(inFeatures, outFeatures)))
  return operator === 'rotation' ? Math.max(2, limited - (limited % 2)) : limited
}
