import { having } from '../common/arguments.js'
import type { WritableValues } from './trainable.js'

/**
 * The processes that train together, as one of them sees them. Rows of a step are dealt out by `rank`, and a rank may get none.
 * `sum`, `sumGradients` and `barrier` are where ranks meet: all of them call these in the same order with as many values, and
 * get the same bits. Where one can no longer come, because its process or its connection is gone or it called `abort`, these
 * reject on the others with a `RunError` `rank-failed` that names it.
 */
export interface Ranks {
  /** From 0. */
  readonly rank: number
  /** Number of ranks. */
  readonly size: number
  /** Whether this rank writes the run's files: one does. */
  readonly writesOutput: boolean
  /** Whether notices and samples are events of this rank's run: of one. Steps and evaluations are events of all. */
  readonly reportsProgress: boolean
  /** Ranks of this machine, which share its memory; 1 if absent. */
  readonly localSize?: number
  /** Each value added up over all ranks. */
  sum(values: Float64Array): Promise<Float64Array>
  /**
   * Adds up float32 gradients of all ranks in place: they go out as one message. Backward passes may go on meanwhile, and may bring
   * more of them.
   */
  sumGradients(gradients: readonly WritableValues[]): Promise<void>
  /** Resolves when every rank has called it. */
  barrier(): Promise<void>
  /** Says that this rank has failed and comes to no meeting any more, and why: what the others wait for rejects with the reason. */
  abort(reason: string): void
}

/** One process alone. */
export const singleRank: Ranks = {
  rank: 0,
  size: 1,
  writesOutput: true,
  reportsProgress: true,
  sum: (values) => Promise.resolve(values),
  sumGradients: () => Promise.resolve(),
  barrier: () => Promise.resolve(),
  abort: () => {},
}

export const someRanks = having('ranks', ...Object.keys(singleRank))
