import type { DropoutState } from '../nn/linear-input.js'
import type { RotaryInput } from '../tensor/operations/attention.js'
import type { Tensor } from '../tensor/tensor.js'

/** What every block of one forward pass shares. */
export interface ForwardContext {
  readonly rotary: RotaryInput
  /** Starts of the documents, then T: [B + 1] int32. */
  readonly offsets: Tensor
  readonly dropout: DropoutState | null
}
