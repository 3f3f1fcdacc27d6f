import { aFunction, badValue, check, optionsSchema, positive, wholes } from '../../common/arguments.js'
import { UsageError } from '../../common/errors.js'
import { sumOfChunks } from '../../tensor/chunks.js'
import { cast } from '../../tensor/operations/arithmetic.js'
import { slice } from '../../tensor/operations/indexing.js'
import { type LogitsForm, logitsOf, rowsOfLogits, targetLogProbs } from '../../tensor/operations/loss.js'
import { scope } from '../../tensor/scope.js'
import { runSteps } from '../../tensor/steps.js'
import { type Float32Tensor, Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'
import type { Decoder } from './decoder.js'

const tokenLogProbsArguments = {
  targets: wholes,
  options: optionsSchema('the options of tokenLogProbs', { temperature: positive.optional() }),
}

/** Options of a forward pass. */
export interface ForwardCall {
  /**
   * The tokens whose states are computed: `all` (default), `targets` (tokens with a target, as in the loss), or the rows of
   * the batch with these indices, in this order.
   */
  rows?: 'all' | 'targets' | ArrayLike<number>
}

/** The loss of a batch, as a sum: divide by `targetTokens` for the mean. */
export interface SummedLoss {
  /** The sum of cross-entropies over all targets, each times the weight of its row, [1] float32; on the tape unless gradients are off. */
  loss: Tensor
  /** The sum of the targets' weights: their number, if rows have no weights. */
  targetTokens: number
}

/**
 * The result of a forward pass, with gradients where it recorded them. Like a tensor, it belongs to the scope that it was made
 * in; outside of a scope, `dispose` frees it. It keeps using the adapters that were active during the pass.
 */
export class ModelOutput implements Disposable {
  /** The tensors that it consists of: a scope that returns it passes them on. */
  readonly tensors: readonly Tensor[]
  readonly #form: LogitsForm
  readonly #decoder: Decoder
  /** The output head's weight with what adapters add; null in a classifier. */
  readonly #ownHead: Weight | null
  /** The head of labels; null without one. */
  readonly #score: Weight | null

  constructor(
    /** Hidden states after the final norm, [N, D] in the model's dtype. */
    readonly hidden: Tensor,
    decoder: Decoder,
  ) {
    this.#form = decoder.network.logits
    this.#decoder = decoder
    this.#score = decoder.score
    const head = decoder.config.labels ? null : decoder.adaptedHead()
    this.#ownHead = head
    // Without adapters, the head is the model's own.
    this.tensors = !head || head === decoder.headTable.weight ? [hidden] : [hidden, ...head.tensors]
  }

  /** @throws UsageError `no-head` in a classifier */
  get #head(): Weight {
    return this.#ownHead ?? this.#decoder.adaptedHead()
  }

  /**
   * Returns the scores of each label by the head of a classifier or a reward model, [N, labels] float32, with gradients.
   * @throws UsageError `no-head` of a model without such a head
   */
  scores(): Float32Tensor {
    const score = this.#score
    if (score) return scope(() => logitsOf(cast(this.hidden, 'float32'), score)) as Float32Tensor
    throw new UsageError(
      'no-head',
      'The model has no head that scores texts: load one with it, or an adapter that trained one (the objective reward or classify), or make one with addHead.',
    )
  }

  /** Returns the float32 logits [to - from, V] of rows [from, to), by default all: 4 V bytes each. */
  logits(from = 0, to: number = this.hidden.shape[0]!): Float32Tensor {
    return scope(() => logitsOf(slice(this.hidden, from, to), this.#head, this.#form)) as Float32Tensor
  }

  /**
   * Returns Σ of body(logits, from, to) over chunks of rows [from, to), [1] float32, for a body that reduces float32 logits [to
   * - from, V] to a scalar. The logits never exist as a whole: with gradients on, each chunk's gradients are computed at once,
   * and the backward pass only scales them.
   */
  sumOverLogits(body: (logits: Tensor, from: number, to: number) => Tensor): Tensor {
    check({ body }, { body: aFunction })
    const logits = (rows: Tensor) => logitsOf(rows, this.#head, this.#form)
    return sumOfChunks(this.hidden, rowsOfLogits(this.#head), (rows, from, to) => body(logits(rows), from, to))
  }

  /**
   * Returns the natural log-probability of each row's target, [N] float32, with gradients; `targets` has an id for every row.
   * The logits, which `temperature` divides, never exist as a whole.
   */
  tokenLogProbs(targets: ArrayLike<number>, options: { temperature?: number } = {}): Tensor {
    check({ targets, options }, tokenLogProbsArguments)
    const { temperature = 1 } = options
    const { hidden } = this
    const [rows, vocabulary] = [hidden.shape[0]!, this.#head.shape[0]!]
    if (targets.length !== rows) throw badValue('targets', `${rows} ids, one for each row,`, targets)
    const ids = Int32Array.from(targets)
    const odd = ids.find((id) => id < 0 || id >= vocabulary)
    if (odd !== undefined) throw badValue('targets', `ids from 0 to ${vocabulary - 1}`, odd)
    const { scale, softcap } = this.#form
    const form = { scale: scale / temperature, softcap: softcap && softcap / temperature }
    return scope(() => {
      const onDevice = Tensor.from(ids, [rows], { device: hidden.device, dtype: 'int32' })
      return runSteps(targetLogProbs(hidden, this.#head, onDevice, form))
    })
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
