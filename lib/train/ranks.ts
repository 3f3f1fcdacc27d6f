import { having } from '../arguments.js'
import type { TrainedParameter, WritableValues } from './trainable.js'

/**
 * The processes that train together, as one of them sees them. Rows of a step are dealt out by `rank`, and a rank may get none.
 * `sum`, `sumGradients` and `barrier` are where ranks meet: all of them call these in the same order with as many values, and
 * get the same bits.
 */
export interface Ranks {
  /** From 0. */
  readonly rank: number
  readonly size: number
  /** Whether this rank writes the run's files: one does. */
  readonly writesOutput: boolean
  /** Whether notices and samples are events of this rank's run: of one. Steps and evaluations are events of all. */
  readonly reportsProgress: boolean
  /** Each value added up over all ranks. */
  sum(values: Float64Array): Promise<Float64Array>
  /** Adds up float32 gradients of all ranks in place. */
  sumGradients(gradients: readonly WritableValues[]): Promise<void>
  /** Resolves when every rank has called it. */
  barrier(): Promise<void>
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
}

export const someRanks = having(
  'ranks',
  ...['rank', 'size', 'writesOutput', 'reportsProgress', 'sum', 'sumGradients', 'barrier'],
)

/** Adds up the gradients of all ranks. A parameter that has none on any of them stays without, as with one rank. */
export async function sumGradients(ranks: Ranks, parameters: readonly TrainedParameter[]): Promise<void> {
  const reached = await ranks.sum(Float64Array.from(parameters, ({ grad }) => (grad ? 1 : 0)))
  await ranks.sumGradients(parameters.filter((_, i) => reached[i]! > 0).map((parameter) => parameter.ensureGrad()))
}
