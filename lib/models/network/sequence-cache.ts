import { check, wholeFrom } from '../../common/arguments.js'
import { UsageError } from '../../common/errors.js'
import type { SequencePart } from './decoder.js'
import type { TokenMemory } from './token-memory.js'

const rewindArguments = { tokens: wholeFrom(0) }

/** Passes whose version changes with their weights and adapters. */
interface VersionedPasses {
  readonly version: number
}

/** The cache of one sequence: keys and values of its tokens, or states. */
export class SequenceCache {
  /** The length that the row will have, if that is known before its tokens are read. */
  rowLength = 0
  /**
   * The tokens' rows, in order, and the states.
   *
   * @internal
   */
  readonly memory: TokenMemory
  #length = 0
  /** Whether the tokens have the rotary angles of a long row (LongRoPE). */
  #isLong = false
  /** The passes that read the first token, and their version then. */
  #begun: { passes: VersionedPasses; version: number } | null = null

  constructor(memory: TokenMemory) {
    this.memory = memory
  }

  /** Maximum number of tokens. */
  get capacity(): number {
    return this.memory.capacity
  }

  /** Number of tokens in the cache. */
  get length(): number {
    return this.#length
  }

  /**
   * Drops the tokens after the first `tokens`; all tokens where states cannot go back, or where weights or adapters have changed since
   * the first token was read. Returns the number of tokens that stay.
   */
  rewind(tokens: number): number {
    check({ tokens }, rewindArguments)
    const isStale = this.#begun !== null && this.#begun.passes.version !== this.#begun.version
    const kept = isStale ? 0 : tokens
    if (kept < this.#length) this.#keepFirst(kept)
    return this.#length
  }

  /**
   * Notes the passes that read the first token.
   *
   * @internal
   */
  begin(passes: VersionedPasses): void {
    this.#begun = { passes, version: passes.version }
  }

  /**
   * Returns the part of a pass that reads `ids` after the tokens in the cache. All tokens must have the same rotary angles.
   *
   * @internal
   * @throws UsageError `too-long`
   */
  partOf(ids: ArrayLike<number>, { longRowsFrom }: { longRowsFrom: number }): SequencePart {
    const known = this.#length + ids.length
    if (known > this.capacity)
      throw new UsageError('too-long', `A cache with room for ${this.capacity} tokens cannot hold ${known}.`)
    const rowLength = Math.max(known, this.rowLength)
    const isLong = rowLength >= longRowsFrom
    if (this.#length > 0 && isLong !== this.#isLong) {
      throw new UsageError(
        'too-long',
        `Rows of ${longRowsFrom} tokens or more are computed otherwise from their first token on (LongRoPE): read the row again from its start, with the cache's rowLength set.`,
      )
    }
    this.#isLong = isLong
    return { ids, known, rows: null, slot: 0, rowLength }
  }

  /**
   * Runs a pass that reads tokens after those in the cache. A pass that throws may have changed some of the states: then all tokens are
   * dropped.
   *
   * @internal
   */
  reading<Result>(tokens: number, pass: () => Result): Result {
    try {
      const result = pass()
      this.#length += tokens
      return result
    } catch (error) {
      this.#keepFirst(this.#length)
      throw error
    }
  }

  /** Frees the memory of all blocks. */
  dispose(): void {
    this.memory.dispose()
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  #keepFirst(tokens: number): void {
    this.memory.clearSlot(0)
    this.#length = this.memory.hasStates ? 0 : tokens
  }
}
