import { dropout } from '../tensor/operations/activation.js'
import type { Tensor } from '../tensor/tensor.js'

/** Keys of the dropout masks of one forward pass: one for each row, and one for each layer and adapter. */
export interface DropoutState {
  /** Keys of the rows, [T] int64. */
  readonly rowKeys: Tensor
  /** Returns the key of a layer's mask in an adapter: two unsigned 32-bit words. */
  key(layer: string, adapter: string): readonly [number, number]
}

/** The adapters of some rows, and the factors of their contributions, by name. */
export interface RowAdapters {
  /** The rows: from … to. */
  readonly from: number
  readonly to: number
  readonly factors: ReadonlyMap<string, number>
}

/**
 * The input x [T, k] of linear layers, with values that their adapters compute from it once. Projections that read the same x
 * (query, key and value; gate and up) share one.
 */
export class LinearInput {
  /**
   * The rows that have adapters of their own, as inputs of these.
   *
   * @internal
   */
  readonly rows: readonly (RowAdapters & { readonly input: LinearInput })[]
  /**
   * Whether adapters add to the base's results, whatever they are: a row's sums do not depend on the adapters of other rows then.
   *
   * @internal
   */
  readonly isBaseFirst: boolean
  readonly #derived = new Map<string, Tensor>()
  readonly #ofRows = new Map<string, LinearInput>()

  constructor(
    /** The input [T, k], in the dtype of activations. */
    readonly x: Tensor,
    /** Keys of the dropout masks of this forward pass; null without dropout. */
    readonly dropoutState: DropoutState | null = null,
    /** Whether products with frozen weights run in 8 bits. */
    readonly int8 = false,
    /** Adapters of some rows beside the active ones of all rows. If given, adapters add to the base's results in any case. */
    rowAdapters?: readonly RowAdapters[],
  ) {
    this.isBaseFirst = rowAdapters !== undefined
    this.rows = (rowAdapters ?? []).map((rows) => ({ ...rows, input: this.ofRows(rows.from, rows.to) }))
  }

  /** Returns the input of rows from … to, the same at each call. */
  ofRows(from: number, to: number): LinearInput {
    const key = `${from} ${to}`
    const input = this.#ofRows.get(key) ?? new LinearInput(this.x.rows(from, to))
    this.#ofRows.set(key, input)
    return input
  }

  /** Returns the value of a key, computed at the first call. */
  derive(key: string, make: () => Tensor): Tensor {
    const known = this.#derived.get(key)
    if (known) return known
    const value = make()
    this.#derived.set(key, value)
    return value
  }

  /** Whether an adapter with this dropout probability drops elements. */
  drops(probability: number): boolean {
    return this.dropoutState !== null && probability > 0
  }

  /** Returns x for one adapter of one layer, with that adapter's dropout mask. */
  dropped(probability: number, layer: string, adapter: string): LinearInput {
    if (!this.drops(probability)) return this
    const state = this.dropoutState!
    return new LinearInput(dropout(this.x, state.rowKeys, { key: state.key(layer, adapter), probability }))
  }
}
