/** Parts that objectives of answers share: sums of log-probabilities over answers, the reference, and means of rewards. */

import type { Batch } from '../batches/batch.js'
import { UsageError } from '../common/errors.js'
import { optionalFlag, text } from '../schema/option.js'
import { sub } from '../tensor/operations/arithmetic.js'
import { matmul } from '../tensor/operations/products.js'
import { reshape } from '../tensor/operations/reshaping.js'
import { Tensor } from '../tensor/tensor.js'
import { type ForwardModel, type KeptValues, tokenLogProbs } from './objective.js'

/** Options of the reference of a preference. */
export const referenceFields = {
  referenceAdapter: text('adapter of the reference, a folder or hub id, in place of none', 'A', {
    expects: 'the path of an adapter folder, or its hub id',
    library: { description: "name of the model's adapter that is the reference, in place of none", expects: 'a name' },
    hub: 'adapter',
  }),
  precomputeReference: optionalFlag(
    'compute the reference once, before the first step, and keep it in the output folder',
  ),
}

/** The weight of a token: `answer` is its place in the order of answers, `token` its place in the answer, from 0. */
type TokenWeight = (answer: number, token: number) => number

/** The answers of a batch: the targets of some of its documents. */
export class AnswersOfBatch {
  /** Number of tokens of each. */
  readonly lengths: readonly number[]
  /** The places of each answer's tokens among all targets. */
  readonly #places: readonly (readonly number[])[]
  readonly #targets: number

  /**
   * @param documents of the batch, in the order of answers
   * @param all the batch with all targets whose values are summed, the answers' included
   */
  constructor({ targets, offsets }: Batch, documents: readonly number[], all: Pick<Batch, 'targets'>) {
    let place = 0
    const places = Array.from(offsets.subarray(1), (end, document) => {
      const own: number[] = []
      for (let t = offsets[document]!; t < end; t++) {
        if (targets[t]! >= 0) own.push(place)
        if (all.targets[t]! >= 0) place++
      }
      return own
    })
    this.#targets = place
    this.#places = documents.map((document) => places[document]!)
    this.lengths = this.#places.map(({ length }) => length)
  }

  /** Returns the sum over each answer of the values of all targets [N], as [answers]. */
  sums(values: Tensor, weightOf: TokenWeight = () => 1): Tensor {
    const weights = new Float32Array(this.lengths.length * this.#targets)
    for (const [answer, places] of this.#places.entries()) {
      for (const [token, place] of places.entries()) weights[answer * this.#targets + place] = weightOf(answer, token)
    }
    const matrix = Tensor.from(weights, [this.lengths.length, this.#targets], { device: values.device })
    return reshape(matmul(matrix, reshape(values, [this.#targets, 1])), [this.lengths.length])
  }
}

/** Returns the model that a run compares with: the base, or the base with another adapter. */
export function referenceOf(model: ForwardModel, adapter?: string): ForwardModel {
  if (model.withAdapters) return model.withAdapters(adapter === undefined ? [] : [adapter])
  throw new UsageError('bad-value', 'Expected a model with the method withAdapters, which gives the reference.')
}

/** Returns the log-probabilities of all targets of a batch by the reference, [targets] without gradients. */
export const referenceLogProbs = (model: ForwardModel, adapter: string | undefined, batch: Batch): Promise<Tensor> =>
  tokenLogProbs(referenceOf(model, adapter), batch, { gradients: false })

/** Returns the reference's values that a run computes once and keeps. */
export const keptReference = (adapter: string | undefined): KeptValues => ({
  width: 1,
  // An adapter is not identified by its name.
  settings: adapter === undefined ? 'reference' : null,
  async of(model, batch) {
    using before = await referenceLogProbs(model, adapter, batch)
    return (await before.data()) as Float32Array
  },
})

/** Returns ln π − ln π_ref of all targets. */
export const logRatiosOf = (after: Tensor, before: Tensor | Float32Array): Tensor =>
  sub(after, before instanceof Tensor ? before : Tensor.from(before, [before.length], { device: after.device }))
