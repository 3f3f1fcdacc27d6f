/** Keeps the ranks of a run in step: they stop, save, wait and fail together. */
import { RunError, UsageError } from '../common/errors.js'
import {
  failureReason,
  gatherJson,
  type Ranks,
  rankFailure,
  single,
  sumOverRanks,
  type WritableValues,
} from '../tensor/ranks.js'

/** Flags that ranks exchange when they meet; a flag that any rank sets is set for all. */
const FLAGS = [
  /** This rank has failed. */
  'failed',
  /** The run ends here. */
  'stop',
  /** The current computation is discarded and the run ends. */
  'drop',
  /** A checkpoint is written. */
  'save',
  /** The run is paused. */
  'wait',
  /** With a sharded model: one more pass is made. */
  'pass',
  /** Another pass follows it. */
  'more',
] as const

type Flags = Readonly<Record<(typeof FLAGS)[number], boolean>>

/** Errors that every rank of their run knows. */
const known = new WeakSet<object>()

/** Whether every rank knows this error, so that all are about to end. */
export function isKnownToAllRanks(error: unknown): boolean {
  return typeof error === 'object' && error !== null && known.has(error)
}

/** Whether this rank reports an error: of several ranks that know it, only one does. */
export function reportsError(error: unknown, rank: number): boolean {
  if (isKnownToAllRanks(error)) return rank === 0
  // A rank that is gone reports nothing.
  if (isRankFailure(error)) return rank === 0 || (rank === 1 && error.message.startsWith('Rank 0 '))
  return true
}

/**
 * Synchronises the ranks of a run. At each meeting, whatever its purpose, every rank first says whether it has failed; so a
 * rank that fails joins the next meeting of the others, and all end with its reason.
 */
export class RankSync {
  /** Whether ranks have lost each other. */
  #isCutOff = false
  readonly #wantsToStop: () => boolean

  /** @param wantsToStop called whenever ranks agree */
  constructor(
    readonly ranks: Ranks = single,
    wantsToStop: () => boolean = () => false,
  ) {
    this.#wantsToStop = wantsToStop
  }

  /** Whether this rank writes the run's files and reports its progress. */
  get isFirst(): boolean {
    return this.ranks.rank === 0
  }

  /** Waits for all ranks, and resolves to the flags that any of them has set. */
  async agree(flags: Partial<Omit<Flags, 'stop' | 'failed'>> = {}): Promise<Flags> {
    return (await this.#meet({ ...flags, stop: this.#wantsToStop() })).flags
  }

  /** Sums each value over all ranks, in the order of ranks; null if one of them discards its computation. */
  async sum(values: readonly number[], { drop = false } = {}): Promise<Float64Array | null> {
    const { flags, all } = await this.#meet({ drop }, new Uint8Array(Float64Array.from(values).buffer))
    return flags.drop ? null : sumOverRanks(all, values.length)
  }

  /** Returns the bytes of each rank, by rank. */
  async gather(bytes: Uint8Array): Promise<Uint8Array[]> {
    return (await this.#meet({}, bytes)).all
  }

  /** Returns the bytes of the first rank on all ranks. */
  async broadcast(bytes: Uint8Array): Promise<Uint8Array> {
    await this.#meet({})
    return this.#guarded(() => this.ranks.broadcast(bytes))
  }

  /** See `Ranks.sumGradients`. This is no meeting: a rank that fails first sends all of its gradients. */
  sumGradients(gradients: readonly WritableValues[]): Promise<void> {
    return this.#guarded(() => this.ranks.sumGradients(gradients))
  }

  /**
   * Compares facts between all ranks, in their order.
   * @throws UsageError `unlike-ranks` on every rank, with the name of the first that differs
   */
  async requireSame(facts: () => Promise<readonly (readonly [name: string, value: string])[]>): Promise<void> {
    if (this.ranks.size === 1) return
    const [first, ...others] = (await gatherJson(this, await facts())).map((own) => new Map(own))
    for (const [i, other] of others.entries()) {
      for (const name of new Set([...first!.keys(), ...other.keys()])) {
        const [is, was] = [other.get(name) ?? 'not given', first!.get(name) ?? 'not given']
        if (is === was) continue
        throw new UsageError(
          'unlike-ranks',
          `Rank ${i + 1} has ${name} ${is}, but rank 0 has ${was}: all ranks of a run need the same.`,
        )
      }
    }
  }

  /** Does work on every rank; if it fails on one, it fails on all. */
  async together<Value>(work: () => Promise<Value>, save?: (error: unknown) => Promise<unknown>): Promise<Value> {
    try {
      return await work()
    } catch (error) {
      throw await this.#end(error, save)
    }
  }

  /**
   * Returns the error that ends the run of this rank: after a failure of another rank, `save` saves the run first; a failure of
   * this rank is reported to the others. Waits for all ranks that can still be reached.
   */
  async #end(error: unknown, save: (error: unknown) => Promise<unknown> = async () => error): Promise<unknown> {
    let end = error
    if (isRankFailure(error)) end = await save(error).catch(() => error)
    else if (!this.#isCutOff) await this.#meet({ failed: true }, Buffer.from(failureReason(error))).catch(() => {})
    if (this.#isCutOff) return end
    const haveMet = await this.ranks.barrier().then(
      () => true,
      () => false,
    )
    if (haveMet && typeof end === 'object' && end !== null) known.add(end)
    return end
  }

  /** Exchanges flags and bytes with all ranks. Rejects with `rank-failed` if one has failed. */
  async #meet(
    own: Partial<Flags>,
    bytes: Uint8Array = new Uint8Array(0),
  ): Promise<{ flags: Flags; all: Uint8Array[] }> {
    const head = Uint8Array.from(FLAGS, (flag) => Number(own[flag] ?? false))
    const messages = await this.#guarded(() => this.ranks.gather(Buffer.concat([head, bytes])))
    const all = messages.map((message) => message.subarray(FLAGS.length))
    const firstRankWith = (i: number) => messages.findIndex((message) => message[i] === 1)
    const failed = firstRankWith(FLAGS.indexOf('failed'))
    if (failed >= 0) throw rankFailure(failed, Buffer.from(all[failed]!).toString())
    return { flags: Object.fromEntries(FLAGS.map((flag, i) => [flag, firstRankWith(i) >= 0])) as Flags, all }
  }

  /** Runs an exchange; after a failure, ranks cannot agree on its purpose. */
  async #guarded<Value>(work: () => Promise<Value>): Promise<Value> {
    try {
      return await work()
    } catch (error) {
      this.#isCutOff = true
      if (!isRankFailure(error)) this.ranks.abort(failureReason(error))
      throw error
    }
  }
}

function isRankFailure(error: unknown): error is RunError {
  return error instanceof RunError && error.code === 'rank-failed'
}
