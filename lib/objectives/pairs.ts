/** Objectives of pairs: the loss of a chosen and a rejected answer to a prompt. */

import { type Batch, documentWeights, totalWeight } from '../batches/batch.js'
import { UsageError } from '../common/errors.js'
import { optionName, theOption } from '../common/option-names.js'
import { add, div, mul } from '../tensor/operations/arithmetic.js'
import { slice } from '../tensor/operations/indexing.js'
import { sum } from '../tensor/operations/reductions.js'
import { concat } from '../tensor/operations/reshaping.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { AnswersOfBatch, keptReference, logRatiosOf, referenceLogProbs } from './answers.js'
import {
  type ForwardModel,
  type LossOptions,
  type Objective,
  type StepSums,
  TWO_TOKENS,
  targetPurity,
  tokenLogProbs,
} from './objective.js'
import { firstsIn, lengthOfStep, type Matches, matchesIn, numbersOfStep, placesIn } from './order.js'
import { meanSum, type WeightedSum } from './weighted-sum.js'

/** A value of each chosen and each rejected answer, [pairs]. */
interface PairOf<Value> {
  readonly chosen: Value
  readonly rejected: Value
}

/** The scores that a loss compares. */
export interface Scores extends PairOf<Tensor> {
  /** Number of tokens of each answer, without gradients. */
  readonly lengths: PairOf<Tensor>
  /** Values of other pairs of the step, for losses that compare pairs, [pairs] without gradients. */
  readonly matches?: Readonly<Record<keyof Matches, Tensor>>
}

/** The parts in which objectives of pairs differ. */
interface PairLoss {
  readonly name: string
  readonly options: Readonly<Record<string, unknown>>
  /** Whether scores are ln π − ln π_ref of an answer; otherwise ln π. */
  readonly hasReference?: boolean
  /** The adapter of the reference; none by default. */
  readonly referenceAdapter?: string | undefined
  /** Whether a run computes the reference once, before the first step. */
  readonly isPrecomputed?: boolean
  /** Weight of tokens past the length of the shorter answer; default 1. */
  readonly tailWeight?: number
  /** Whether pairs are weighed by the probability of their answers (WPO). */
  readonly isWeighed?: boolean
  /** Maximum number of pairs per step, for losses that compare pairs of a step; absent for others. */
  readonly comparedPairs?: number | undefined
  /** Returns the loss of each pair, [pairs]; null if only the likelihood counts. */
  loss(scores: Scores): Tensor | null
  /** Returns the compared scores; default: sums over tokens. */
  readonly score?: ((scores: Scores) => PairOf<Tensor>) | undefined
  /** The factor of scores in the rewards of metrics. */
  readonly beta: number
  /** The factor of the likelihood: minus the mean log-probability of all tokens of all chosen answers of the step. */
  readonly likelihood?: number
  /** Whether the tokens of prompts count in it, too. */
  readonly isLikelihoodOfPrompts?: boolean
}

const METRICS = [
  'rewards',
  'rewards/chosen',
  'rewards/rejected',
  'margins',
  'accuracy',
  'logps/chosen',
  'logps/rejected',
]

/** Makes an objective of a loss of pairs. Each row of a batch is two documents: the chosen answer, then the rejected one. */
export function objectiveOfPairs(pair: PairLoss): Objective {
  const { likelihood = 0, isLikelihoodOfPrompts, score = (scores) => scores, beta } = pair
  const likelyIn = (batch: Batch) => (isLikelihoodOfPrompts ? withPrompts(batch) : batch)
  const reference = (model: ForwardModel, batch: Batch) => referenceLogProbs(model, pair.referenceAdapter, batch)
  const weightOf = ({ lengths }: AnswersOfBatch) => {
    const pairs = lengths.length / 2
    const shorter = (i: number) => Math.min(lengths[i % pairs]!, lengths[(i % pairs) + pairs]!)
    return (i: number, token: number) => (token < shorter(i) ? 1 : (pair.tailWeight ?? 1))
  }
  /** Returns the batch's part of the numbers by which losses compare the pairs of a step. */
  const numbersOf = async (
    model: ForwardModel,
    batch: Batch,
    { places, pairs, kept }: { places: readonly number[]; pairs: number } & Pick<LossOptions, 'kept'>,
  ) => {
    requireUnweighed(pair, batch)
    const answers = answersIn(batch)
    const known = kept?.(batch)
    using computed = known ? null : await reference(model, batch)
    using after = await tokenLogProbs(model, batch, { gradients: false })
    using sums = scope(() => {
      const all = [after, logRatiosOf(after, known ?? computed!)]
      return concat(all.map((each) => answers.sums(each, weightOf(answers))))
    })
    return numbersOfStep(Array.from(await sums.data(), Number), places, pairs)
  }
  const { comparedPairs: most } = pair
  const ofLikelihood = likelihood > 0 ? 2 : 0
  const stepSums: StepSums = {
    length: ofLikelihood + (most === undefined ? 0 : lengthOfStep(most)),
    async of(model, batch, { kept } = {}) {
      const counts = ofLikelihood > 0 ? countsOf(answersIn(likelyIn(batch)), weightsIn(batch)) : []
      if (most === undefined) return counts
      return [...counts, ...(await numbersOf(model, batch, { places: placesIn(batch), pairs: most, kept }))]
    },
  }
  const matchesOf = async (
    model: ForwardModel,
    batch: Batch,
    { stepSums, kept }: Omit<LossOptions, 'gradients'>,
  ): Promise<Matches | null> => {
    if (most === undefined) return null
    if (stepSums) return matchesIn(stepSums.slice(ofLikelihood), placesIn(batch))
    const places = Array.from({ length: batch.rows / 2 }, (_, place) => place)
    return matchesIn(await numbersOf(model, batch, { places, pairs: places.length, kept }), places)
  }
  return {
    name: pair.name,
    options: pair.options,
    ...(pair.isPrecomputed && { keep: keptReference(pair.referenceAdapter) }),
    rows: 'pairs',
    metrics: METRICS,
    smallRow: [TWO_TOKENS, TWO_TOKENS],
    ...(stepSums.length > 0 && { stepSums }),
    async loss(model, batch, { gradients, stepSums, kept }) {
      const all = likelyIn(batch)
      const answers = answersIn(batch, all)
      const pairs = answers.lengths.length / 2
      const known = kept?.(batch)
      using computed = pair.hasReference && !known ? await reference(model, batch) : null
      const compared = await matchesOf(model, batch, { stepSums, kept })
      const ofRows = weightsIn(batch)
      const ofModel = pair.isWeighed ? await pairWeights(model, batch, answers) : null
      const weights = ofModel?.map((weight, i) => weight * (ofRows?.[i] ?? 1)) ?? ofRows
      using after = await tokenLogProbs(model, all, { gradients })
      const { loss, rewards, sums } = scope(() => {
        const ofPairs = (all: Tensor): PairOf<Tensor> => ({
          chosen: slice(all, 0, pairs),
          rejected: slice(all, pairs, 2 * pairs),
        })
        const constant = (values: ArrayLike<number>) =>
          Tensor.from(Float32Array.from(values), [values.length], { device: after.device })
        const lengths = ofPairs(constant(answers.lengths))
        const before = known ?? computed
        const scores = {
          ...ofPairs(answers.sums(before ? logRatiosOf(after, before) : after, weightOf(answers))),
          lengths,
        }
        const scored = score(scores)
        const matches = compared && {
          margins: constant(compared.margins),
          rejected: constant(compared.rejected),
          chosen: constant(compared.chosen),
        }
        const losses = pair.loss({ ...scored, lengths, ...(matches && { matches }) })
        const parts = losses ? [sum(weights ? mul(losses, constant(weights)) : losses)] : []
        if (likelihood > 0) {
          const likely = answersIn(all)
          const [allPairs, allTokens] = stepSums ?? countsOf(likely, ofRows)
          const { chosen } = ofPairs(likely.sums(after))
          const summed = sum(ofRows ? mul(chosen, constant(ofRows)) : chosen)
          parts.push(mul(summed, (-likelihood * allPairs!) / allTokens!))
        }
        return {
          loss: parts.reduce((total, part) => add(total, part)),
          rewards: mul(concat([scored.chosen, scored.rejected]), beta),
          sums: answers.sums(after, weightOf(answers)),
        }
      })
      try {
        const metrics = metricsOf(await rewards.data(), await sums.data(), pairs)
        return { loss, weight: totalWeight(ofRows, pairs), metrics }
      } finally {
        rewards.dispose()
        sums.dispose()
      }
    },
  }
}

/** Mean log-probabilities over the tokens of each answer. */
export const meansOf = ({ chosen, rejected, lengths }: Scores): PairOf<Tensor> => ({
  chosen: div(chosen, lengths.chosen),
  rejected: div(rejected, lengths.rejected),
})

/** The chosen answers of all pairs, then the rejected ones; `all` has every target whose log-probability is computed. */
function answersIn(batch: Batch, all = batch): AnswersOfBatch {
  const firsts = firstsIn(batch)
  return new AnswersOfBatch(batch, [...firsts, ...firsts.map((first) => first + 1)], all)
}

/** Returns the batch with every token of the chosen rows but the first as a target, up to the end of their answers. */
function withPrompts(batch: Batch): Batch {
  const targets = batch.targets.slice()
  for (let document = 0; document < batch.rows; document += 2) {
    const [start, end] = [batch.offsets[document]!, batch.offsets[document + 1]!]
    let last = end - 1
    while (last >= start && targets[last]! < 0) last--
    for (let t = start; t < last; t++) targets[t] = batch.ids[t + 1]!
  }
  return { ...batch, targets, targetTokens: targets.reduce((count, target) => count + Number(target >= 0), 0) }
}

/** Returns the weight of each pair; null if all are 1. */
const weightsIn = (batch: Batch): Float32Array | null => documentWeights(batch, firstsIn(batch))

/** Returns the number of pairs, and of tokens of their chosen answers, each times the weight of its pair. */
function countsOf({ lengths }: AnswersOfBatch, weights: Float32Array | null): [pairs: number, tokens: number] {
  const chosen = lengths.slice(0, lengths.length / 2)
  const tokens = chosen.reduce((total, length, pair) => total + length * (weights?.[pair] ?? 1), 0)
  return [totalWeight(weights, chosen.length), tokens]
}

/** @throws UsageError `unfit-options` for rows with weights, where pairs are compared by their ranks */
function requireUnweighed({ name }: PairLoss, { weights }: Batch): void {
  if (!weights) return
  throw new UsageError(
    'unfit-options',
    `The losses aot and aot_unpaired of ${name} sort the pairs of a step, so rows with a weight do not go with them: leave the column out (${theOption('ignoreColumns', ['weight'])}), or give another ${optionName('lossType')}.`,
  )
}

/**
 * Returns the weight of each pair: exp of the mean over an answer's tokens of ln p − ln Σ_v p_v², multiplied over both answers. It
 * is large for answers that the model itself would sample (WPO, arXiv 2406.11827).
 */
async function pairWeights(model: ForwardModel, batch: Batch, answers: AnswersOfBatch): Promise<number[]> {
  using purity = await targetPurity(model, batch)
  using means = scope(() => answers.sums(purity, (answer) => 1 / answers.lengths[answer]!))
  const values = (await means.data()) as Float32Array
  const pairs = values.length / 2
  return Array.from({ length: pairs }, (_, i) => Math.exp(values[i]! + values[pairs + i]!))
}

function metricsOf(
  rewards: ArrayLike<number | bigint>,
  sums: ArrayLike<number | bigint>,
  pairs: number,
): Record<string, WeightedSum> {
  const [reward, logp] = [Array.from(rewards, Number), Array.from(sums, Number)]
  const margins = reward.slice(0, pairs).map((chosen, i) => chosen - reward[pairs + i]!)
  return {
    rewards: meanSum(reward),
    'rewards/chosen': meanSum(reward.slice(0, pairs)),
    'rewards/rejected': meanSum(reward.slice(pairs)),
    margins: meanSum(margins),
    accuracy: meanSum(margins.map((margin) => Number(margin > 0))),
    'logps/chosen': meanSum(logp.slice(0, pairs)),
    'logps/rejected': meanSum(logp.slice(pairs)),
  }
}
