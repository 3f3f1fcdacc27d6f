import { check, wholeFrom } from '../../common/arguments.js'
import type { TokenMemory } from './token-memory.js'

const rewindArguments = { tokens: wholeFrom(0) }

/** Passes whose version changes with their weights and adapters. */
interface VersionedPasses {
  readonly version: number
}

/** What a model keeps of one sequence's tokens: keys and values, or states. */
export class SequenceCache {
  /** The length that the row will have, if that is known before its tokens are read. */
  rowLength = 0
  /** Whether the tokens have the rotary angles of a long row (LongRoPE). */
  isLong = false
  /**
   * The tokens' rows, in order, and the states.
   *
   * @internal
   */
  readonly memory: TokenMemory
  #length = 0
  /** The passes that read the first token, and their version then. */
  #begun: { passes: VersionedPasses; version: number } | null = null

  constructor(memory: TokenMemory) {
    this.memory = memory
  }

  /** Maximum number of tokens. */
  get capacity(): number {
    return this.memory.capacity
  }

  /** Number of tokens seen. */
  get length(): number {
    return this.#length
  }

  /**
   * Forgets the tokens after the first `tokens`; all of them where states cannot go back, or where weights or adapters have changed
   * since the first was read. Returns how many are left.
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
   * Runs a pass that reads tokens after those seen. One that throws may have changed some of the states: then all is forgotten.
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
