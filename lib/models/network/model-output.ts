import { aFunction, check } from '../../common/arguments.js'
import { sumOfChunks } from '../../tensor/chunks.js'
import { slice } from '../../tensor/operations/indexing.js'
import { type LogitsForm, logitsOf, rowsOfLogits } from '../../tensor/operations/loss.js'
import { scope } from '../../tensor/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'
import type { Decoder } from './decoder.js'

/** Options of a forward pass. */
export interface ForwardCall {
  /**
   * The tokens whose states are computed: `all` (default), `targets` (those that have a target, as in the loss), or the rows of
   * the batch with these indices, in this order.
   */
  rows?: 'all' | 'targets' | ArrayLike<number>
}

/** The loss of a batch, as a sum: divide by the number of targets for the mean. */
export interface SummedLoss {
  /** The sum of cross-entropies over all targets, [1] float32; on the tape unless gradients are off. */
  loss: Tensor
  /** Number of targets. */
  targetTokens: number
}

/** Reduces a chunk of logits [to - from, V] of rows [from, to) to a scalar. */
export type LogitsBody = (logits: Tensor, from: number, to: number) => Tensor

/**
 * The result of a forward pass, with gradients where it recorded them. Like a tensor, it belongs to the scope that it was made
 * in; outside of a scope, `dispose` frees it. It keeps using the adapters that were active during the pass.
 */
export class ModelOutput implements Disposable {
  /** The tensors that it consists of: a scope that returns it passes them on. */
  readonly tensors: readonly Tensor[]
  readonly #form: LogitsForm
  /** The output head's weight with what adapters add. */
  readonly #head: Weight

  constructor(
    /** Hidden states after the final norm, [N, D] in the model's dtype. */
    readonly hidden: Tensor,
    decoder: Decoder,
  ) {
    this.#form = decoder.network.logits
    this.#head = decoder.adaptedHead()
    // Without adapters, the head is the model's own.
    this.tensors = this.#head === decoder.headTable.weight ? [hidden] : [hidden, ...this.#head.tensors]
  }

  /** Returns the float32 logits [to - from, V] of rows [from, to), by default all: 4 V bytes each. */
  logits(from = 0, to: number = this.hidden.shape[0]!): Tensor {
    return scope(() => logitsOf(slice(this.hidden, from, to), this.#head, this.#form))
  }

  /**
   * Returns Σ of body(logits, from, to) over chunks of rows [from, to), [1] float32, for a body that reduces float32 logits [to
   * - from, V] to a scalar. The logits never exist as a whole: with gradients on, each chunk's gradients are computed at once,
   * and the backward pass only scales them.
   */
  sumOverLogits(body: LogitsBody): Tensor {
    check({ body }, { body: aFunction })
    const logits = (rows: Tensor) => logitsOf(rows, this.#head, this.#form)
    return sumOfChunks(this.hidden, rowsOfLogits(this.#head), (rows, from, to) => body(logits(rows), from, to))
  }

  /** Frees hidden states, and the head if adapters have changed it. */
  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose()
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
