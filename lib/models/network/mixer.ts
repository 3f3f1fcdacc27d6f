import type { FloatDType, NativeDevice } from '../../native/addon.js'
import type { Linear, LinearGroup } from '../../nn/linear.js'
import { type DropoutState, LinearInput, type RowAdapters } from '../../nn/linear-input.js'
import type { RotaryPlan } from '../../nn/rotary.js'
import type { RotaryInput } from '../../tensor/operations/attention.js'
import { Tensor } from '../../tensor/tensor.js'
import type { WeightSlot } from './weight-slot.js'

/** The inputs that all blocks of a forward pass share. */
export interface ForwardContext {
  /** Tables and positions for each kind of rotary embedding in the network. */
  readonly rotary: ReadonlyMap<RotaryPlan, RotaryInput>
  /** Starts of the documents, then T: [B + 1] int32. */
  readonly offsets: Tensor
  readonly dropout: DropoutState | null
  /** Whether products with the blocks' frozen weights are computed in 8 bits. */
  readonly int8: boolean
  /** Adapters of some rows, instead of the active ones of all rows. */
  readonly rowAdapters?: readonly RowAdapters[]
}

/** The inputs that a block may have beside x. */
export interface BlockContext extends ForwardContext {
  /** Keys and values [T, 2K E] to attend to, its own or another block's. */
  readonly keysValues?: Tensor
  /** The block's own input [T, size]. */
  readonly perLayer?: Tensor
}

/** Wraps x [T, k] as an input of a block's linear layers. */
export function linearInput(x: Tensor, { dropout, int8, rowAdapters }: ForwardContext): LinearInput {
  return new LinearInput(x, dropout, int8, rowAdapters)
}

/** The part of a block through which the tokens of a document act on later ones, such as attention. */
export interface Mixer {
  /** Layers that read the block's input. */
  readonly projections: LinearGroup
  readonly output: Linear
  readonly slots: readonly WeightSlot[]
  linears(): Linear[]
  /** x [T, D] → [T, D]. With a memory of earlier tokens, x continues their sequences, without gradients. */
  forward(x: Tensor, context: BlockContext, past: PastTokens | null): Tensor
  /** Returns the keys and values [T, 2K E] of x [T, D], if several blocks attend to them. */
  keysValues?(x: Tensor, context: ForwardContext): Tensor
  /** Allocates memory of a sequence's tokens. */
  createMemory(room: MemoryRoom): MixerMemory
}

/** A mixer's cache of the tokens so far: keys and values, or states. Forward passes change it in place. */
export interface MixerMemory {
  /** [capacity, …]: a row for each token, such as keys and values. */
  readonly rows: Tensor | null
  /** [slots, …]: tensors that each token of a sequence changes as a whole; zeros before its first one. */
  readonly states: readonly Tensor[]
}

/** The size of a cache. */
export interface MemoryRoom {
  /** Maximum number of tokens. */
  readonly capacity: number
  /** Maximum number of sequences with states. */
  readonly slots: number
  /** The dtype of activations. */
  readonly dtype: FloatDType
  readonly device: NativeDevice
}

/** The cache of the tokens before a pass, and the places of its tokens. */
export interface PastTokens extends MemoryPlaces {
  readonly memory: MixerMemory
}

/** The rows of a cache for the tokens of a pass, sequence by sequence, and for all tokens so far. */
export interface MemoryPlaces {
  /** The new tokens' rows of the cache, [T] int32. */
  readonly rows: Tensor
  /** Starts of each sequence's new tokens and, in `keyOffsets`, of all its tokens, with the end of the last; [B + 1] int32. */
  readonly queryOffsets: Tensor
  readonly keyOffsets: Tensor
  /** The rows of all tokens, [their number or more] int32; null: rows 0, 1, … */
  readonly keyRows: Tensor | null
  /** Each sequence's new tokens, from … to, and the place of its states. */
  readonly sequences: readonly { readonly from: number; readonly to: number; readonly slot: number }[]
}

/** Computes a part [T, .] of a mixer sequence by sequence, since each has states of its own, [1, …]. */
export function bySequence(
  x: Tensor,
  { sequences, memory }: PastTokens,
  compute: (x: Tensor, states: readonly Tensor[]) => Tensor,
): Tensor {
  const parts = sequences.map(({ from, to, slot }) =>
    compute(
      sequences.length === 1 ? x : x.rows(from, to),
      memory.states.map((state) => state.rows(slot, slot + 1)),
    ),
  )
  if (parts.length === 1) return parts[0]!
  const all = Tensor.empty([x.shape[0]!, parts[0]!.shape[1]!], x)
  for (const [i, { from, to }] of sequences.entries()) all.rows(from, to).copyFrom(parts[i]!)
  return all
}
