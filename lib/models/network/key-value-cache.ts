import type { FloatDType, NativeDevice } from '../../native/addon.js'
import { allOrNothing, keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { ModelConfig } from './model-config.js'
import type { TokenStep } from './token-step.js'

/** Keys and values of the tokens seen so far. */
export class KeyValueCache {
  /** Tokens seen. */
  length = 0
  /** Tokens that the row will have, as far as that is known before they are read. */
  rowLength = 0
  /** Whether the tokens were turned as those of a long row are (LongRoPE). */
  isLong = false
  /** The forward pass of one token, made by the decoder when it is needed. */
  step: TokenStep | null = null
  /** Each layer's [capacity, 2 K, E]: a token's keys, then its values. */
  readonly layers: readonly Tensor[]

  constructor(
    config: ModelConfig,
    /** Tokens that there is memory for. */
    readonly capacity: number,
    dtype: FloatDType,
    device: NativeDevice,
  ) {
    const shape = [capacity, 2 * config.keyValueHeads, config.headSize]
    const layer = () => keep(Tensor.empty(shape, { device, dtype }))
    this.layers = allOrNothing(() => Array.from({ length: config.layers }, layer))
  }

  /** Frees the memory of all layers. */
  dispose(): void {
    this.step?.dispose()
    this.step = null
    for (const layer of this.layers) layer.dispose()
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
