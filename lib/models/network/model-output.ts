import { aFunction, check } from '../../common/arguments.js'
import { sumOfChunks } from '../../tensor/chunks.js'
import { slice } from '../../tensor/operations/indexing.js'
import { type LogitsForm, logitsOf, rowsOfLogits } from '../../tensor/operations/loss.js'
import { scope } from '../../tensor/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'
import type { Decoder } from './decoder.js'

/** What a forward pass computes. */
export interface ForwardCall {
  /**
   * The tokens to compute it of: `all` (default), `targets` (those that have one, as in the loss), or the rows of the batch
   * with these numbers, in this order.
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

/** What a chunk of logits [to - from, V] of rows [from, to) is made into: a scalar. */
export type LogitsBody = (logits: Tensor, from: number, to: number) => Tensor

/**
 * What a forward pass gave, with gradients where it recorded them. It belongs to the scope that it was made in, like a tensor;
 * outside of one, `dispose` frees it. Adapters are those that were active at the pass, whichever are now.
 */
export class ModelOutput implements Disposable {
  /** Those that it was made of: a scope that it is returned from hands them on. */
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

  /** Float32 logits [to - from, V] of rows [from, to), by default of all: they take 4 V bytes for each. */
  logits(from = 0, to: number = this.hidden.shape[0]!): Tensor {
    return scope(() => logitsOf(slice(this.hidden, from, to), this.#head, this.#form))
  }

  /**
   * Σ of body(logits, from, to) over chunks of rows [from, to), [1] float32, for a body that makes a scalar of float32 logits
   * [to - from, V]. The logits never exist whole: with gradients on, those of each chunk are computed at once, and the backward
   * pass only scales them.
   */
  sumOverLogits(body: LogitsBody): Tensor {
    check({ body }, { body: aFunction })
    const logits = (rows: Tensor) => logitsOf(rows, this.#head, this.#form)
    return sumOfChunks(this.hidden, rowsOfLogits(this.#head), (rows, from, to) => body(logits(rows), from, to))
  }

  /** Frees hidden states, and the head where adapters have changed it. */
  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose()
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
