import { dropout } from '../tensor/operations/dropout.js'
import type { Tensor } from '../tensor/tensor.js'

/** Keys of the dropout masks of one forward pass: rows [T] int64, and a key for each layer and adapter. */
export interface DropoutState {
  /** Keys of the rows, [T] int64. */
  readonly rowKeys: Tensor
  /** The key of a layer's mask in an adapter: two unsigned 32-bit words. */
  key(layer: string, adapter: string): readonly [number, number]
}

/**
 * The input of several linear layers: x [T, k], and what their adapters compute from it once. Projections that read the
 * same x (query, key and value; gate and up) share one.
 */
export class LinearInput {
  readonly #derived = new Map<string, Tensor>()

  constructor(
    /** The input [T, k], in the dtype of activations. */
    readonly x: Tensor,
    /** Keys of the dropout masks of this forward pass; null where nothing is dropped. */
    readonly dropoutState: DropoutState | null = null,
    /** Whether products with frozen weights run in 8 bits. */
    readonly int8 = false,
  ) {}

  /** The value for that key, computed at the first call. */
  derive(key: string, make: () => Tensor): Tensor {
    const known = this.#derived.get(key)
    if (known) return known
    const value = make()
    this.#derived.set(key, value)
    return value
  }

  /** Whether an adapter with this dropout sees something other than x. */
  drops(probability: number): boolean {
    return this.dropoutState !== null && probability > 0
  }

  /** x as one adapter of one layer sees it: each drops its own elements. */
  dropped(probability: number, layer: string, adapter: string): LinearInput {
    if (!this.drops(probability)) return this
    const state = this.dropoutState!
    return new LinearInput(dropout(this.x, state.rowKeys, { key: state.key(layer, adapter), probability }))
  }
}
