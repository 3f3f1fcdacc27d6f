/** What objectives of answers share: sums of log-probabilities over answers, the reference, and means of rewards. */
import { UsageError } from '../common/errors.js'
import type { Batch } from '../data/batch.js'
import { matmul } from '../tensor/operations/products.js'
import { reshape } from '../tensor/operations/reshaping.js'
import { Tensor } from '../tensor/tensor.js'
import type { ForwardModel, WeightedSum } from './objective.js'

/** The weight of a token: `answer` is its place in the order of answers, `token` its place in the answer, from 0. */
type TokenWeight = (answer: number, token: number) => number

/** The answers of a batch: the targets of some of its documents. */
export class AnswersOfBatch {
  /** Number of tokens of each. */
  readonly lengths: readonly number[]
  readonly #starts: readonly number[]
  readonly #targets: number

  /** @param documents of the batch, in the order of answers */
  constructor({ targets, offsets, targetTokens }: Batch, documents: readonly number[]) {
    const starts = [0]
    for (let document = 0; document + 1 < offsets.length; document++) {
      const own = targets.subarray(offsets[document], offsets[document + 1])
      starts.push(starts.at(-1)! + own.reduce((count, target) => count + Number(target >= 0), 0))
    }
    this.#targets = targetTokens
    this.#starts = documents.map((document) => starts[document]!)
    this.lengths = documents.map((document, i) => starts[document + 1]! - this.#starts[i]!)
  }

  /** Returns the sum over each answer of the values of the batch's targets [N], as [answers]. */
  sums(values: Tensor, weightOf: TokenWeight = () => 1): Tensor {
    const weights = new Float32Array(this.lengths.length * this.#targets)
    for (const [answer, length] of this.lengths.entries()) {
      const row = answer * this.#targets + this.#starts[answer]!
      for (let token = 0; token < length; token++) weights[row + token] = weightOf(answer, token)
    }
    const matrix = Tensor.from(weights, [this.lengths.length, this.#targets], { device: values.device })
    return reshape(matmul(matrix, reshape(values, [this.#targets, 1])), [this.lengths.length])
  }
}

/** Returns the model that a run compares with: the base, or the base with another adapter. */
export function referenceOf(model: ForwardModel): ForwardModel {
  if (model.withAdapters) return model.withAdapters([])
  throw new UsageError('bad-value', 'Expected a model with the method withAdapters, which gives the reference.')
}

/** Returns the mean of some values as a sum. */
export function meanSum(values: Iterable<number>): WeightedSum {
  const all = [...values]
  return { sum: all.reduce((sum, value) => sum + value, 0), weight: all.length }
}
