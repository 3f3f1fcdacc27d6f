import type { FloatDType, NativeDevice } from '../../native/addon.js'
import { allOrNothing, keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { ModelConfig } from './model-config.js'
import type { TokenStep } from './token-step.js'

/** Keys and values of the tokens seen so far. */
export class KeyValueCache {
  /** Number of tokens seen. */
  length = 0
  /** The length that the row will have, if that is known before its tokens are read. */
  rowLength = 0
  /** Whether the tokens have the rotary angles of a long row (LongRoPE). */
  isLong = false
  /** The forward pass of one token, made by the decoder when it is needed. */
  step: TokenStep | null = null
  /** Each layer's [capacity, 2 K, E]: a token's keys, then its values. */
  readonly layers: readonly Tensor[]

  constructor(
    config: ModelConfig,
    /** The most tokens that it can hold. */
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
