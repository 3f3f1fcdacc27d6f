import { type DropoutState, LinearInput } from '../../nn/linear-input.js'
import type { RotaryInput } from '../../tensor/operations/attention.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { RotaryPlan } from './plan.js'

/** What every block of one forward pass shares. */
export interface ForwardContext {
  /** Tables and positions for each kind of rotary embedding in the network. */
  readonly rotary: ReadonlyMap<RotaryPlan, RotaryInput>
  /** Starts of the documents, then T: [B + 1] int32. */
  readonly offsets: Tensor
  readonly dropout: DropoutState | null
  /** Whether products with the blocks' frozen weights are made in 8 bits. */
  readonly int8: boolean
}

/** x [T, k] as the linear layers of a block read it. */
export function linearInput(x: Tensor, { dropout, int8 }: ForwardContext): LinearInput {
  return new LinearInput(x, dropout, int8)
}
