import { type DropoutState, LinearInput, type RowAdapters } from '../../nn/linear-input.js'
import type { RotaryInput } from '../../tensor/operations/attention.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { RotaryPlan } from './plan.js'

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

/** What a block reads beside its input, where its plan says so. */
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
