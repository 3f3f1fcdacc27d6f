/** Processes that compute together, as one of them sees them: all that the rest of the library asks of ranks. */
import { having } from '../common/arguments.js'

/** Float32 values that may be replaced in place. */
export interface WritableValues {
  /** Dimensions of the values. */
  readonly shape: readonly number[]
  /** A copy of the values, once everything enqueued before is done. */
  data(): Promise<ArrayLike<number> | ArrayLike<bigint>>
  /** Replaces all values. */
  assign(values: Float32Array): void
}

/**
 * Processes that train together. Rows of a step are dealt out by `rank`, and a rank may get none; rank 0 writes the run's files and
 * reports its progress. All ranks call `gather`, `broadcast`, `sumGradients` and `barrier` in the same order. Once a rank can no
 * longer do so, because its process or its connection is gone or it called `abort`, these calls reject on the others with a
 * `RunError` `rank-failed` that names it.
 */
export interface Ranks {
  /** From 0. */
  readonly rank: number
  /** Number of ranks. */
  readonly size: number
  /** Number of ranks on this machine, which share its memory; 1 if absent. */
  readonly localSize?: number
  /** Returns what each rank gives, by rank; ranks may give different numbers of bytes. */
  gather(bytes: Uint8Array): Promise<Uint8Array[]>
  /** Returns the bytes of one rank, by default rank 0, on all ranks; bytes of the others are ignored. */
  broadcast(bytes: Uint8Array, from?: number): Promise<Uint8Array>
  /**
   * Adds up float32 gradients of all ranks in place, with the same bits on all ranks. They travel as one message. Backward passes may
   * go on meanwhile, and may bring more gradients.
   */
  sumGradients(gradients: readonly WritableValues[]): Promise<void>
  /** Resolves when every rank has called it. */
  barrier(): Promise<void>
  /** Says that this rank has failed and why; what other ranks wait for rejects with this reason. */
  abort(reason: string): void
}

/** One process alone: every call returns at once. */
export const single: Ranks = {
  rank: 0,
  size: 1,
  gather: (bytes) => Promise.resolve([bytes]),
  broadcast: (bytes) => Promise.resolve(bytes),
  sumGradients: () => Promise.resolve(),
  barrier: () => Promise.resolve(),
  abort: () => {},
}

export const someRanks = having('ranks', ...Object.keys(single))

/** Returns what each rank says, by rank. */
export async function gatherJson<Value>(ranks: Pick<Ranks, 'gather'>, own: Value): Promise<Value[]> {
  const all = await ranks.gather(Buffer.from(JSON.stringify(own)))
  return all.map((bytes) => JSON.parse(Buffer.from(bytes).toString()))
}
