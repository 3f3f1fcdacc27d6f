import { check, wholeFrom } from '../../common/arguments.js'
import { native } from '../../native/addon.js'
import { allOrNothing } from '../../tensor/scope.js'
import type { MemoryRoom, Mixer, MixerMemory } from './mixer.js'
import type { TokenStep } from './token-step.js'

const rewindArguments = { tokens: wholeFrom(0) }

/** What a model keeps of one sequence's tokens: keys and values, or states. */
export class SequenceCache {
  /** The length that the row will have, if that is known before its tokens are read. */
  rowLength = 0
  /** Whether the tokens have the rotary angles of a long row (LongRoPE). */
  isLong = false
  /** The forward pass of one token, made by the decoder when it is needed. */
  step: TokenStep | null = null
  /** The most tokens that it can hold. */
  readonly capacity: number
  /**
   * Each block's memory.
   *
   * @internal
   */
  readonly blocks: readonly MixerMemory[]
  #length = 0

  constructor(mixers: readonly Mixer[], room: MemoryRoom) {
    this.capacity = room.capacity
    this.blocks = allOrNothing(() => mixers.map((mixer) => mixer.createMemory(room)))
  }

  /** Number of tokens seen. */
  get length(): number {
    return this.#length
  }

  /** Forgets the tokens after the first `tokens`; all of them where states cannot go back. Returns how many are left. */
  rewind(tokens: number): number {
    check({ tokens }, rewindArguments)
    if (tokens < this.#length) this.#keepFirst(tokens)
    return this.#length
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
    this.step?.dispose()
    this.step = null
    for (const { rows, states } of this.blocks) for (const tensor of [rows, ...states]) tensor?.dispose()
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  #keepFirst(tokens: number): void {
    const states = this.blocks.flatMap((block) => block.states)
    for (const state of states) native.fill(state.native, 0)
    this.#length = states.length > 0 ? 0 : tokens
  }
}
