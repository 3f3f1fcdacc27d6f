import { type NativeDevice, type NativeRecording, native } from '../../native/addon.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'

/** The inputs of one token, on the device (int32). */
export interface TokenInputs {
  /** [1] */
  readonly ids: Tensor
  /** Position in the row, [1]. */
  readonly positions: Tensor
  /** Start and end of the one document, [2]: among the new tokens, and among all tokens including them. */
  readonly queryOffsets: Tensor
  readonly keyOffsets: Tensor
}

/**
 * The forward pass of one token, recorded and enqueued again for each that follows: hundreds of operations become one call.
 * It keeps the memory of all intermediate results.
 */
export class TokenStep implements Disposable {
  /** [id, position, 0, 1, 0, known] */
  readonly #values: Tensor
  readonly #inputs: TokenInputs
  #calls = 0
  #recording: NativeRecording | null = null
  #logits: Tensor | null = null

  /**
   * @param state everything that the forward pass depends on besides its inputs
   * @param forward returns the logits [1, V]
   */
  constructor(
    device: NativeDevice,
    readonly state: readonly unknown[],
    readonly forward: (inputs: TokenInputs) => Tensor,
  ) {
    this.#values = keep(Tensor.empty([6], { device, dtype: 'int32' }))
    const part = (from: number, count: number) => keep(this.#values.view([count], [1], from))
    this.#inputs = { ids: part(0, 1), positions: part(1, 1), queryOffsets: part(2, 2), keyOffsets: part(4, 2) }
  }

  /** Whether everything that the forward pass depends on is unchanged. */
  fits(state: readonly unknown[]): boolean {
    return state.length === this.state.length && state.every((value, i) => value === this.state[i])
  }

  /** Returns the logits [1, V] of the token after the one at a position. */
  next(id: number, position: number): Tensor {
    this.#values.assign(Int32Array.of(id, position, 0, 1, 0, position + 1))
    // Whatever the first call makes for all later ones, such as converted weights, is not recorded.
    if (++this.#calls === 1) return this.forward(this.#inputs)
    if (this.#recording) {
      this.#recording.replay()
    } else {
      this.#recording = native.record(() => {
        this.#logits = keep(this.forward(this.#inputs))
      })
    }
    const logits = this.#logits!
    return logits.view(logits.shape)
  }

  dispose(): void {
    this.#recording?.dispose()
    this.#logits?.dispose()
    for (const input of [...Object.values(this.#inputs), this.#values]) input.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
