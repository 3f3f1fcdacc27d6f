/** What ranks tell each other at every step, and when one of them fails. */
import { createHash } from 'node:crypto'
import { RunError, UsageError } from '../common/errors.js'
import { type Ranks, singleRank } from './ranks.js'
import type { WritableValues } from './trainable.js'

/** What a rank may want when it comes to a meeting; all learn what any of them wants. */
const WISHES = [
  /** The run is to end here. */
  'stop',
  /** What was being computed is to be forgotten, and the run is to end. */
  'drop',
  /** A checkpoint is to be written. */
  'save',
  /** The run is paused. */
  'wait',
  /** There is one more pass to make, of a model that ranks hold together. */
  'pass',
  /** And another one after it. */
  'more',
] as const

type Wishes = Readonly<Record<(typeof WISHES)[number], boolean>>

/** Errors that every rank of their run has heard of. */
const told = new WeakSet<object>()

/** Whether all ranks know of what made a run fail. */
export function isKnownToAllRanks(error: unknown): boolean {
  return typeof error === 'object' && error !== null && told.has(error)
}

/** Whether this rank is the one to say why a run failed, where others know of it too. */
export function speaksOf(error: unknown, { rank, reportsProgress }: Pick<Ranks, 'rank' | 'reportsProgress'>): boolean {
  if (isKnownToAllRanks(error)) return reportsProgress
  // A rank that is gone says nothing any more.
  if (isRankFailure(error)) return reportsProgress || (rank === 1 && error.message.startsWith('Rank 0 '))
  return true
}

/**
 * Where the ranks of a run meet. Whatever they meet for, they first tell whether they failed; so a rank that failed can come to
 * any meeting that the others are waiting at, and all end with what it says.
 */
export class Meetings {
  /** Whether ranks can no longer reach each other. */
  #isCutOff = false

  /** @param wantsToStop is asked at every meeting */
  constructor(
    private readonly ranks: Ranks = singleRank,
    private readonly wantsToStop: () => boolean = () => false,
  ) {}

  /** Whether there is one rank, which has nothing to send. */
  get isAlone(): boolean {
    return this.ranks.size === 1
  }

  /** Resolves when all have come, to what any of them wants. Rejects with a `RunError` `rank-failed` when one has failed. */
  async meet(wishes: Partial<Omit<Wishes, 'stop'>> = {}): Promise<Wishes> {
    const own = { ...wishes, stop: this.wantsToStop() }
    const [failed, ...wanted] = await this.#sum([0, ...WISHES.map((wish) => Number(own[wish] ?? false))])
    if (failed! > 0) throw await this.#hear('')
    return Object.fromEntries(WISHES.map((wish, i) => [wish, wanted[i]! > 0])) as Wishes
  }

  /** Each value added up over all ranks; null when one of them gives up what they have computed. */
  async sum(values: ArrayLike<number>, { drop }: Pick<Wishes, 'drop'>): Promise<Float64Array | null> {
    return (await this.meet({ drop })).drop ? null : this.#sum(values)
  }

  /** The bytes of the rank that writes the run's files, on all ranks; those of the others are not looked at. */
  async hand(bytes: Uint8Array): Promise<Uint8Array> {
    await this.meet()
    const own = this.ranks.writesOutput ? bytes : new Uint8Array(0)
    const [length] = await this.#sum([own.length])
    const words = new Uint32Array(Math.ceil(length! / 4))
    new Uint8Array(words.buffer).set(own)
    // A float64 holds each word exactly, and the others add nothing to it.
    const all = new Uint32Array(await this.#sum(words))
    return new Uint8Array(all.buffer, 0, length)
  }

  /** What `Ranks.sumGradients` does. It is no meeting: a rank that fails brings all of its gradients first. */
  sumGradients(gradients: readonly WritableValues[]): Promise<void> {
    return this.#guarded(() => this.ranks.sumGradients(gradients))
  }

  /**
   * Compares facts of all ranks, in their order.
   * @throws UsageError `unlike-ranks` on every rank, which names the first that differs
   */
  async requireSame(factsOf: () => Promise<readonly (readonly [name: string, value: string])[]>): Promise<void> {
    if (this.isAlone) return
    const own = await factsOf()
    const hash = createHash('sha256').update(JSON.stringify(own)).digest('hex')
    await this.meet()
    if (new Set(await this.#texts(hash)).size === 1) return
    const [first, ...others] = (await this.#texts(JSON.stringify(own))).map(
      (text) => new Map(JSON.parse(text) as [string, string][]),
    )
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

  /**
   * What a run ends with that fails on this rank: after a failure of another, `save` has saved what can be; after one of its own,
   * the others have been told. Where ranks can still meet, it waits for all.
   */
  async end(error: unknown, save: () => Promise<unknown> = async () => {}): Promise<unknown> {
    let end = error
    if (isRankFailure(error)) {
      end = await save().then(
        (how) => how ?? error,
        () => error,
      )
    } else if (!this.#isCutOff) {
      await this.#sum([1, ...WISHES.map(() => 0)])
        .then(() => this.#hear(messageOf(error)))
        .catch(() => {})
    }
    if (this.#isCutOff) return end
    await this.ranks.barrier().catch(() => {})
    if (typeof end === 'object' && end !== null) told.add(end)
    return end
  }

  /** Why ranks failed, as the first of them says it. */
  async #hear(own: string): Promise<RunError> {
    const reasons = await this.#texts(own)
    const rank = reasons.findIndex((reason) => reason !== '')
    return rankFailure(rank, reasons[rank]!)
  }

  /** A text of each rank. */
  async #texts(own: string): Promise<string[]> {
    const { rank, size } = this.ranks
    const bytes = Buffer.from(own)
    const lengths = await this.#sum(Array.from({ length: size }, (_, i) => (i === rank ? bytes.length : 0)))
    const starts = [0]
    for (const length of lengths) starts.push(starts.at(-1)! + length)
    const values = new Float64Array(starts[size]!)
    values.set(bytes, starts[rank]!)
    const all = Buffer.from(await this.#sum(values))
    return Array.from({ length: size }, (_, i) => all.toString('utf8', starts[i]!, starts[i + 1]!))
  }

  #sum(values: ArrayLike<number>): Promise<Float64Array> {
    return this.#guarded(() => this.ranks.sum(new Float64Array(values)))
  }

  /** Where this fails, ranks no longer agree on what they meet for. */
  async #guarded<Value>(work: () => Promise<Value>): Promise<Value> {
    try {
      return await work()
    } catch (error) {
      this.#isCutOff = true
      if (!isRankFailure(error)) this.ranks.abort(messageOf(error))
      throw error
    }
  }
}

/** An error that says that another rank failed. */
export function rankFailure(rank: number, reason: string): RunError {
  return new RunError('rank-failed', `Rank ${rank} failed: ${reason}`)
}

export function isRankFailure(error: unknown): error is RunError {
  return error instanceof RunError && error.code === 'rank-failed'
}

/** Not empty: a rank that did not fail says nothing. */
function messageOf(error: unknown): string {
  return (error instanceof Error && error.message) || String(error) || 'it does not say why'
}
