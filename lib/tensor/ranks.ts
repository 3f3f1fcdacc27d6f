/** Processes that compute together: the whole interface between ranks and the rest of the library. */
import { having } from '../common/arguments.js'
import { RunError } from '../common/errors.js'

/** Float32 values that may be replaced in place. */
export interface WritableValues {
  /** Dimensions of the values. */
  readonly shape: readonly number[]
  /** Returns a copy of the values, once everything enqueued before is done. */
  data(): Promise<ArrayLike<number> | ArrayLike<bigint>>
  /** Replaces all values. */
  assign(values: Float32Array): void
}

/**
 * Processes that train together. The rows of a step are distributed by `rank`, and a rank may get none; rank 0 writes the run's
 * files and reports its progress. All ranks call `gather`, `broadcast`, `sumGradients` and `barrier` in the same order. When a
 * rank fails, because its process or connection is gone or it called `abort`, these calls reject on the others with a `RunError`
 * `rank-failed` that names it.
 */
export interface Ranks {
  /** Number of this rank, from 0. */
  readonly rank: number
  /** Number of ranks. */
  readonly size: number
  /** Number of ranks on this machine, which share its memory; 1 if absent. */
  readonly localSize?: number
  /** Returns the bytes of each rank, by rank; their lengths may differ. */
  gather(bytes: Uint8Array): Promise<Uint8Array[]>
  /** Returns the bytes of one rank, by default rank 0, on all ranks; bytes of the others are ignored. */
  broadcast(bytes: Uint8Array, from?: number): Promise<Uint8Array>
  /**
   * Adds up float32 gradients of all ranks in place, with the same bits on all ranks, as one message. Backward passes may
   * continue meanwhile, with further calls.
   */
  sumGradients(gradients: readonly WritableValues[]): Promise<void>
  /** Resolves when every rank has called it. */
  barrier(): Promise<void>
  /** Reports that this rank has failed and why; pending calls of other ranks reject with this reason. */
  abort(reason: string): void
}

/** A single process: every call returns at once. */
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

/** Gathers a value that JSON can hold from each rank, by rank. */
export async function gatherJson<Value>(ranks: Pick<Ranks, 'gather'>, own: Value): Promise<Value[]> {
  const all = await ranks.gather(Buffer.from(JSON.stringify(own)))
  return all.map((bytes) => JSON.parse(Buffer.from(bytes).toString()))
}

/** Returns a value that JSON can hold of one rank, by default rank 0, on all ranks; the others may have none. */
export async function broadcastJson<Value>(
  ranks: Pick<Ranks, 'broadcast'>,
  own: Value | undefined,
  from = 0,
): Promise<Value> {
  const bytes = await ranks.broadcast(Buffer.from(JSON.stringify(own) ?? ''), from)
  return JSON.parse(Buffer.from(bytes).toString())
}

/** Sums float64 values of all ranks, given as bytes by rank, in the order of ranks, so that all get the same bits. */
export function sumOverRanks(all: readonly Uint8Array[], length: number): Float64Array {
  const sums = new Float64Array(length)
  for (const bytes of all)
    for (const [i, value] of new Float64Array(new Uint8Array(bytes).buffer).entries()) sums[i]! += value
  return sums
}

/** Makes the error that reports the failure of another rank. */
export function rankFailure(rank: number, reason: string): RunError {
  return new RunError('rank-failed', `Rank ${rank} failed: ${reason}`)
}

/** Returns the reason that a rank reports for an error of any kind. */
export function failureReason(error: unknown): string {
  return (error instanceof Error && error.message) || String(error) || 'it gives no reason'
}
