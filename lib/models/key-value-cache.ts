import type { FloatDType, NativeDevice } from '../native.js'
import { allOrNothing, keep } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { ModelConfig } from './config.js'

/** Keys and values of the tokens seen so far, [capacity, K, E] for each layer. */
export class KeyValueCache {
  /** Tokens seen. */
  length = 0
  /** Tokens that the row will have, as far as that is known before they are read. */
  rowLength = 0
  /** Whether the tokens were turned as those of a long row are (LongRoPE). */
  isLong = false
  readonly layers: readonly { keys: Tensor; values: Tensor }[]

  constructor(
    config: ModelConfig,
    readonly capacity: number,
    dtype: FloatDType,
    device: NativeDevice,
  ) {
    const empty = () => keep(Tensor.empty([capacity, config.keyValueHeads, config.headSize], { device, dtype }))
    const layer = () => ({ keys: empty(), values: empty() })
    this.layers = allOrNothing(() => Array.from({ length: config.layers }, layer))
  }

  dispose(): void {
    for (const { keys, values } of this.layers) {
      keys.dispose()
      values.dispose()
    }
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
