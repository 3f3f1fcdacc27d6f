import { type FloatDType, native } from '../../native/addon.js'
import { allOrNothing, scope } from '../../tensor/scope.js'
import type { MemoryRoom, Mixer, MixerMemory } from './mixer.js'
import type { TokenStep } from './token-step.js'

/** The cache of several sequences: a row of keys and values for each token, and states for each sequence. */
export class TokenMemory {
  /** Maximum number of tokens. */
  readonly capacity: number
  /** The cache of each block. */
  readonly blocks: readonly MixerMemory[]
  /** The dtype of activations. */
  readonly dtype: FloatDType
  /** The forward pass of one token, made by the decoder when it is needed. */
  step: TokenStep | null = null

  constructor(mixers: readonly Mixer[], room: MemoryRoom) {
    this.capacity = room.capacity
    this.dtype = room.dtype
    this.blocks = allOrNothing(() => mixers.map((mixer) => mixer.createMemory(room)))
  }

  /** Whether it has states, which cannot go back to earlier tokens. */
  get hasStates(): boolean {
    return this.blocks.some(({ states }) => states.length > 0)
  }

  /** Bytes of a token's keys and values in all blocks. */
  get bytesOfToken(): number {
    const elements = this.blocks.reduce((sum, { rows }) => sum + (rows?.strides[0] ?? 0), 0)
    return elements * (this.dtype === 'float32' ? 4 : 2)
  }

  /** Sets the states of a slot to those before a first token. */
  clearSlot(slot: number): void {
    const states = this.blocks.flatMap((block) => block.states)
    scope(() => {
      for (const state of states) native.fill(state.rows(slot, slot + 1).native, 0)
    })
  }

  dispose(): void {
    this.step?.dispose()
    this.step = null
    for (const { rows, states } of this.blocks) for (const tensor of [rows, ...states]) tensor?.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
