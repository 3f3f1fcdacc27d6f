import type { TrainedParameter } from './trainable.js'

/** The processes that train together. Rows are dealt out by `rank`; sums go over all of them. */
export interface Ranks {
  readonly rank: number
  readonly size: number
  /**
   * Adds up the gradients of all ranks in place, and returns the sums of `lossSum` and `targetTokens`: the one place
   * where ranks meet in a step.
   */
  reduce(
    parameters: readonly TrainedParameter[],
    sums: { lossSum: number; targetTokens: number },
  ): Promise<{ lossSum: number; targetTokens: number }>
}

/** One process alone. */
export const singleRank: Ranks = {
  rank: 0,
  size: 1,
  reduce: (_, sums) => Promise.resolve(sums),
}
