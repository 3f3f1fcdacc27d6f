import { randomStream } from '../../common/random.js'
import { type NativeDevice, native } from '../../native/addon.js'
import type { Destination } from '../../tensor/destination.js'
import { gatherColumns } from '../../tensor/operations/mora.js'
import { keep, scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { LayerFacts } from '../contract/adapter.js'

/** The key of a permutation of inputs and outputs, which depends on this and on their number. */
export interface PermutationKey {
  /** The seed of the drawn order. */
  readonly seed: number
  /** The cycle of ReMoRA, starting at 0. */
  readonly cycle: number
}

/**
 * Random orders of a layer's inputs and outputs around a function f: with x'_c = x at input[c] and y' = f(x'), y_j = y' at
 * output[j]. Layers of equal width have equal orders, so that layers with the same input x share x'.
 */
export class Permutation {
  readonly #input: Order
  readonly #output: Order

  constructor(
    readonly key: PermutationKey,
    { inFeatures, outFeatures }: LayerFacts,
    device: NativeDevice,
  ) {
    this.#input = new Order(key, 'inputs', inFeatures, device)
    this.#output = new Order(key, 'outputs', outFeatures, device)
  }

  /** x [T, k] → x' [T, k]. */
  inputs(x: Tensor): Tensor {
    return gatherColumns(x, this.#input)
  }

  /** y' [T, d] → y [T, d]. */
  outputs(y: Tensor, into?: Destination): Tensor {
    return gatherColumns(y, this.#output, into)
  }

  /** ΔW' [d, k] between x' and y' → ΔW [d, k] between x and y. */
  delta(between: Tensor): Tensor {
    return scope(() => this.columns(this.rows(between)))
  }

  /** Reorders the rows [d, …] of a factor of ΔW' for ΔW. */
  rows(between: Tensor): Tensor {
    const rows = Tensor.empty(between.shape, between)
    native.gatherRows(between.native, this.#output.order.native, rows.native)
    return rows
  }

  /** Reorders the columns […, k] of a factor of ΔW' for ΔW. */
  columns(between: Tensor): Tensor {
    const columns = Tensor.empty(between.shape, between)
    native.gatherColumns(between.native, this.#input.inverse.native, columns.native, false)
    return columns
  }

  dispose(): void {
    this.#input.dispose()
    this.#output.dispose()
  }
}

/** An order of columns and its inverse, [width] int32 each. */
class Order {
  readonly order: Tensor
  readonly inverse: Tensor

  constructor({ seed, cycle }: PermutationKey, of: 'inputs' | 'outputs', width: number, device: NativeDevice) {
    const order = Uint32Array.from({ length: width }, (_, i) => i)
    randomStream(seed, 'permutation', of, cycle, width).shuffle(order)
    const inverse = new Int32Array(width)
    for (const [i, column] of order.entries()) inverse[column] = i
    const stored = (values: Int32Array) => keep(Tensor.from(values, [width], { device, dtype: 'int32' }))
    this.order = stored(Int32Array.from(order))
    this.inverse = stored(inverse)
  }

  dispose(): void {
    this.order.dispose()
    this.inverse.dispose()
  }
}
