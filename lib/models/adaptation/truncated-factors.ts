import { native } from '../../native/addon.js'
import type { LowRankFactors } from '../../nn/layer-adapter.js'

/** The nearest product of a rank, and how far it is from the whole. */
export interface TruncatedFactors extends LowRankFactors {
  /** Sums of squares of what was left out, and of all: the error relative to ΔW (Frobenius norm) is the root of their ratio. */
  readonly lostSquares: number
  readonly squares: number
}

/**
 * The best approximation of ΔW [d, k] of a rank (Eckart and Young): its largest singular values, whose square roots both
 * factors take.
 */
export async function truncatedFactors(
  delta: Float32Array,
  outFeatures: number,
  inFeatures: number,
  wanted: number,
): Promise<TruncatedFactors> {
  const { s, u, v } = await native.svd(delta, outFeatures, inFeatures, true)
  const most = s.length
  const rank = Math.min(wanted, most)
  const squaresFrom = (start: number) => s.slice(start).reduce((sum, value) => sum + value ** 2, 0)
  const a = Float32Array.from({ length: rank * inFeatures }, (_, at) => {
    const i = Math.floor(at / inFeatures)
    return Math.sqrt(s[i]!) * v![(at % inFeatures) * most + i]!
  })
  const b = Float32Array.from({ length: outFeatures * rank }, (_, at) => {
    const i = at % rank
    return Math.sqrt(s[i]!) * u![Math.floor(at / rank) * most + i]!
  })
  const factors = { rank, scale: 1, a: async () => a, b: async () => b }
  return { ...factors, lostSquares: squaresFrom(rank), squares: squaresFrom(0) }
}
