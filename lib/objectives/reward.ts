import { z } from 'zod'
import { documentWeights, totalWeight } from '../batches/batch.js'
import { optionalReal } from '../schema/option.js'
import type { LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { add, mul, square, sub } from '../tensor/operations/arithmetic.js'
import { sliceColumns } from '../tensor/operations/indexing.js'
import { sum } from '../tensor/operations/reductions.js'
import { reshape } from '../tensor/operations/reshaping.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { softLoss } from './formulas.js'
import { type BuiltInObjective, lastScores, type Objective, TWO_TOKENS } from './objective.js'
import { firstsIn } from './order.js'
import { meanSum } from './weighted-sum.js'

/** The least default learning rate of a head of labels: its values are random at first, and an adapter's rate hardly moves them. */
export const HEAD_RATE = 2e-3

/** The option of objectives that train a head. */
export const headLearningRate = optionalReal('peak learning rate of the head that is trained with the adapter', {
  above: 0,
  defaultText: `${HEAD_RATE}, or the adapter's rate if that is higher`,
})

export const RewardSchema = z.strictObject({
  centerRewardsCoefficient: optionalReal('weight of the square of the sum of both rewards, which centres them at 0', {
    min: 0,
    defaultText: '0',
  }),
  headLearningRate,
})

/** Options of reward models, with the defaults of TRL. */
export type RewardModelOptions = LibraryInput<typeof RewardSchema>

/**
 * A reward model (Bradley and Terry; arXiv 2203.02155, equation 1): a head of one score s at the last token of an answer is trained
 * with the adapter, by −ln σ(s_c − s_r − m) of the chosen and the rejected answer of each pair. m is the row's column `margin`, or 0
 * (arXiv 2307.09288, equation 2); `centerRewardsCoefficient` × (s_c + s_r)² draws scores to 0 (arXiv 2312.09244). The loss is the
 * mean over the pairs of the step.
 *
 * ```ts
 * import { loadModel, reward, train } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const pairs = [{ prompt: 'Say hello.', chosen: 'Hello!', rejected: 'No.' }]
 * await train(model, { objective: reward({ centerRewardsCoefficient: 0.01 }), data: pairs, maxSteps: 2 }).finished
 * ```
 *
 * @throws UsageError for an option of the wrong type or range
 */
export function reward(options: RewardModelOptions = {}): Objective {
  const { centerRewardsCoefficient: centring = 0 } = parseOptions(RewardSchema, options)
  const objective: Objective = {
    name: 'reward',
    options: plainOptions(options),
    rows: 'pairs',
    labels: () => ['LABEL_0'],
    metrics: ['rewards', 'rewards/min', 'rewards/max', 'rewards/chosen', 'rewards/rejected', 'margins', 'accuracy'],
    smallRow: [TWO_TOKENS, TWO_TOKENS],
    async loss(model, batch, { gradients }) {
      const pairs = batch.rows / 2
      const margins = Float32Array.from({ length: pairs }, (_, i) => batch.labels?.[2 * i] ?? 0)
      const weights = documentWeights(batch, firstsIn(batch))
      using scores = await lastScores(model, batch, gradients)
      const loss = scope(() => {
        const ofPairs = reshape(scores, [pairs, 2])
        const [chosen, rejected] = [sliceColumns(ofPairs, 0, 1), sliceColumns(ofPairs, 1, 2)]
        const margin = Tensor.from(margins, [pairs, 1], { device: scores.device })
        const preference = softLoss(sub(sub(chosen, rejected), margin))
        const each = centring === 0 ? preference : add(preference, mul(square(add(chosen, rejected)), centring))
        return sum(weights ? mul(each, Tensor.from(weights, [pairs, 1], { device: scores.device })) : each)
      })
      return { loss, weight: totalWeight(weights, pairs), metrics: metricsOf(Array.from(await scores.data(), Number)) }
    },
  }
  return {
    ...objective,
    prepare: ({ model: { labels } }) => (labels?.length === 1 ? { ...objective, labels: () => labels } : objective),
  }
}

export const rewardObjective = {
  name: 'reward',
  help: 'trains a head that scores the chosen of two answers higher: a reward model',
  schema: RewardSchema,
  rows: 'pairs',
  make: reward,
} as const satisfies BuiltInObjective

/** @param scores of the chosen and the rejected answer of each pair */
function metricsOf(scores: readonly number[]) {
  const [chosen, rejected] = [0, 1].map((side) => scores.filter((_, i) => i % 2 === side)) as [number[], number[]]
  const margins = chosen.map((score, i) => score - rejected[i]!)
  const weighted = (value: number) => ({ sum: value * margins.length, weight: margins.length })
  return {
    rewards: meanSum(scores),
    'rewards/min': weighted(Math.min(...scores)),
    'rewards/max': weighted(Math.max(...scores)),
    'rewards/chosen': meanSum(chosen),
    'rewards/rejected': meanSum(rejected),
    margins: meanSum(margins),
    accuracy: meanSum(margins.map((margin) => Number(margin > 0))),
  }
}
