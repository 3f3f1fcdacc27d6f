import type { DropoutState } from '../nn/linear-input.js'
import type { RotaryInput } from '../tensor/operations/attention.js'
import type { Tensor } from '../tensor/tensor.js'
import type { RotaryPlan } from './network.js'

/** What every block of one forward pass shares. */
export interface ForwardContext {
  /** Tables and positions for each kind of rotary embedding in the network. */
  readonly rotary: ReadonlyMap<RotaryPlan, RotaryInput>
  /** Starts of the documents, then T: [B + 1] int32. */
  readonly offsets: Tensor
  readonly dropout: DropoutState | null
}
