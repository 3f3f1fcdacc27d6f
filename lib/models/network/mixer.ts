import type { FloatDType, NativeDevice } from '../../native/addon.js'
import type { Linear, LinearGroup } from '../../nn/linear.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { BlockContext, ForwardContext } from './forward-context.js'
import type { WeightSlot } from './weight-slot.js'

/** The part of a block through which the tokens of a document act on later ones, such as attention. */
export interface Mixer {
  /** Layers that read the block's input. */
  readonly projections: LinearGroup
  readonly output: Linear
  readonly slots: readonly WeightSlot[]
  linears(): Linear[]
  /** x [T, D] → [T, D]; with seen tokens, x follows them in one document, and there are no gradients. */
  forward(x: Tensor, context: BlockContext, seen: SeenTokens | null): Tensor
  /** Keys and values of x [T, D] for several blocks, where its plan says so: [T, 2K E]. */
  keysValues?(x: Tensor, context: ForwardContext): Tensor
  /** Allocates memory of a sequence's tokens. */
  createMemory(room: MemoryRoom): MixerMemory
}

/** What a mixer keeps of the tokens seen so far; forward passes change it in place. */
export interface MixerMemory {
  /** [capacity, …]: a row for each token, such as keys and values. */
  readonly rows: Tensor | null
  /** Tensors that each token changes as a whole; zeros before the first one. */
  readonly states: readonly Tensor[]
}

export interface MemoryRoom {
  /** The most tokens that it can hold. */
  readonly capacity: number
  /** The dtype of activations. */
  readonly dtype: FloatDType
  readonly device: NativeDevice
}

/** The tokens before those of a pass, and the places of these. */
export interface SeenTokens {
  readonly memory: MixerMemory
  /** The new tokens' positions in the document, [T] int32. */
  readonly positions: Tensor
  /** 0 and the number of new tokens, and, in `keyOffsets`, 0 and the number of all tokens; [2] int32. */
  readonly queryOffsets: Tensor
  readonly keyOffsets: Tensor
}
