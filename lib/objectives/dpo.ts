import { z } from 'zod'
import { UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { choices, optionalChoice, optionalFlag, optionalReal, real, reals } from '../schema/option.js'
import type { LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { add, div, exp, logSigmoid, mul, relu, sigmoid, square, sub } from '../tensor/operations/arithmetic.js'
import { noGrad } from '../tensor/tape.js'
import type { Tensor } from '../tensor/tensor.js'
import { referenceFields } from './answers.js'
import { minus, oneMinus, plus, smoothedLoss, softLoss } from './formulas.js'
import type { BuiltInObjective, Objective } from './objective.js'
import { objectiveOfPairs, type Scores } from './pairs.js'

export const DpoSchema = z.strictObject({
  beta: optionalReal('how much leaving the reference costs', { above: 0, defaultText: '0.1' }),
  lossType: choices(
    "the losses by TRL's names",
    [
      'sigmoid',
      'hinge',
      'ipo',
      'robust',
      'exo_pair',
      'nca_pair',
      'bco_pair',
      'sppo_hard',
      'aot',
      'aot_unpaired',
      'apo_zero',
      'apo_down',
      'discopop',
      'sigmoid_norm',
      'sft',
    ],
    { defaultText: 'sigmoid' },
  ),
  lossWeights: reals('weights of several losses', { defaultText: '1 each' }),
  labelSmoothing: real('share of pairs whose order is wrong', 0, { min: 0, below: 0.5 }),
  ldAlpha: optionalReal("weight of an answer's tokens past the length of the shorter answer", {
    min: 0,
    max: 1,
    defaultText: '1',
  }),
  useWeighting: optionalFlag('weigh pairs by how probable their answers are for the model (WPO)'),
  fDivergenceType: optionalChoice(
    'the divergence from the reference',
    ['reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence'],
    { defaultText: 'reverse_kl' },
  ),
  fAlphaDivergenceCoef: optionalReal('α of alpha_divergence', { defaultText: '0.5' }),
  discopopTau: optionalReal('temperature of discopop', { above: 0, defaultText: '0.05' }),
  ...referenceFields,
})

/** Options of direct preference optimisation, with the defaults of TRL. */
export type DpoOptions = LibraryInput<typeof DpoSchema>

/** The rewards of a pair, from which losses are computed: β r with r = ln π(y) − ln π_ref(y). */
interface Rewards {
  /** βr of the chosen answers, [pairs]. */
  readonly c: Tensor
  /** βr of the rejected answers. */
  readonly r: Tensor
  /** βΔ = c − r. */
  readonly delta: Tensor
  readonly lengths: Scores['lengths']
  readonly scores: Scores
  readonly beta: number
  /** The share of pairs whose order is wrong, ε. */
  readonly epsilon: number
  readonly tau: number
}

/** β (r_c / n_c − r_r / n_r) */
const perToken = ({ c, r, lengths }: Rewards): Tensor => sub(div(c, lengths.chosen), div(r, lengths.rejected))

type DpoLoss = NonNullable<z.output<typeof DpoSchema>['lossType']>[number]

/** The loss of each pair, [pairs]. */
const LOSSES: Readonly<Record<Exclude<DpoLoss, 'sft'>, (rewards: Rewards) => Tensor>> = {
  // DPO, arXiv 2305.18290, equation 7; with ε, conservative DPO.
  sigmoid: ({ delta, epsilon }) => smoothedLoss(delta, epsilon),
  // SLiC-HF, arXiv 2305.10425
  hinge: ({ delta }) => relu(oneMinus(delta)),
  // IPO, arXiv 2310.12036, equation 17, with means over tokens
  ipo: (rewards) => square(sub(mul(perToken(rewards), 1 / rewards.beta), 1 / (2 * rewards.beta))),
  // Robust DPO, arXiv 2403.00409, equation 12
  robust: ({ delta, epsilon }) =>
    mul(sub(mul(softLoss(delta), 1 - epsilon), mul(softLoss(minus(delta)), epsilon)), 1 / (1 - 2 * epsilon)),
  // EXO, arXiv 2402.00856, equation 16: KL of the model's preference from one that is sure but for ε
  exo_pair: ({ delta, epsilon }) => {
    const wrong = epsilon || 1e-3
    const against = (x: Tensor, p: number) => mul(sigmoid(x), sub(logSigmoid(x), Math.log(p)))
    return plus(against(delta, 1 - wrong), against(minus(delta), wrong))
  },
  // NCA, arXiv 2402.05369, for pairs
  nca_pair: ({ c, r }) => plus(softLoss(c), mul(softLoss(minus(c)), 0.5), mul(softLoss(minus(r)), 0.5)),
  // BCO, arXiv 2404.04656, without the running mean of rewards
  bco_pair: ({ c, r }) => plus(softLoss(c), softLoss(minus(r))),
  // SPPO, arXiv 2405.00675, with preferences that are 0 or 1
  sppo_hard: ({ c, r, beta }) => plus(square(mul(sub(c, 0.5), 1 / beta)), square(mul(add(r, 0.5), 1 / beta))),
  // AOT, arXiv 2406.05882: of sorted margins, or of sorted rewards, each against that of its rank
  aot: ({ scores: { chosen, rejected, matches }, beta, epsilon }) =>
    smoothedLoss(mul(add(sub(chosen, rejected), matches!.margins), beta), epsilon),
  aot_unpaired({ scores: { chosen, rejected, matches }, beta, epsilon }) {
    const ofRank = (c: Tensor, r: Tensor) => smoothedLoss(mul(sub(c, r), beta), epsilon)
    // Each match is counted for both of its pairs: its gradient once for each, and its value in halves.
    const twice = plus(ofRank(chosen, matches!.rejected), ofRank(matches!.chosen, rejected))
    const half = noGrad(() => mul(twice, 0.5))
    return sub(twice, half)
  },
  // APO, arXiv 2408.06266
  apo_zero: ({ c, r }) => plus(oneMinus(sigmoid(c)), sigmoid(r)),
  apo_down: ({ c, delta }) => plus(sigmoid(c), oneMinus(sigmoid(delta))),
  // DiscoPOP, arXiv 2406.08414
  discopop: ({ delta, tau }) => {
    const share = sigmoid(mul(delta, 1 / tau))
    return plus(mul(softLoss(delta), oneMinus(share)), mul(exp(minus(delta)), share))
  },
  // DPO with means over tokens, as in Tülu 3, arXiv 2411.15124
  sigmoid_norm: (rewards) => softLoss(perToken(rewards)),
}

/** Losses that compare a pair with others of its step. */
const COMPARED: readonly DpoLoss[] = ['aot', 'aot_unpaired']

/** Functions of r = ln π − ln π_ref by divergence (f-DPO, arXiv 2309.16240). */
const divergence =
  (type: DpoOptions['fDivergenceType'], alpha: number) =>
  (r: Tensor): Tensor => {
    if (type === 'forward_kl') return oneMinus(exp(minus(r)))
    if (type === 'js_divergence') return add(logSigmoid(r), Math.log(2))
    if (type === 'alpha_divergence') return mul(sub(exp(mul(r, alpha - 1)), 1), 1 / (alpha - 1))
    return r
  }

/**
 * Direct preference optimisation (arXiv 2305.18290): −ln σ(β (r_c − r_r)) of the chosen and the rejected answer of each pair, with
 * r = ln π(y) − ln π_ref(y), and losses of its kin. The reference is the model without the adapter that is trained, or with
 * `referenceAdapter`. The loss is the mean over pairs; `sft` (RPO's term) adds minus the mean log-probability of the tokens of chosen
 * answers.
 *
 * ```ts
 * import { dpo, loadModel, mora, train } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const pairs = [{ prompt: 'Say hello.', chosen: 'Hello!', rejected: 'No.' }]
 * await train(model, { objective: dpo({ beta: 0.2 }), data: pairs, maxSteps: 2 }).finished
 * ```
 *
 * @throws UsageError for an option of the wrong type or range
 */
export function dpo(options: DpoOptions = {}): Objective {
  return { ...dpoOfSteps(options, 8), prepare: ({ batchSize }) => dpoOfSteps(options, batchSize) }
}

/** @param most pairs of a step */
function dpoOfSteps(options: DpoOptions, most: number): Objective {
  const settings = parseOptions(DpoSchema, options)
  const { beta = 0.1, lossType = ['sigmoid'], labelSmoothing: epsilon, discopopTau: tau = 0.05 } = settings
  const { lossWeights = lossType.map(() => 1), ldAlpha, useWeighting, fDivergenceType } = settings
  if (lossWeights.length !== lossType.length) {
    throw new UsageError(
      'bad-value',
      `Expected a weight for each of the ${lossType.length} losses of ${optionName('lossType')} but received ${lossWeights.length} in ${optionName('lossWeights')}.`,
    )
  }
  const ofDivergence = divergence(fDivergenceType, settings.fAlphaDivergenceCoef ?? 0.5)
  const types = lossType.map((type, i) => ({ type, weight: lossWeights[i]! }))
  return objectiveOfPairs({
    name: 'dpo',
    options: plainOptions(options),
    hasReference: true,
    referenceAdapter: settings.referenceAdapter,
    isPrecomputed: settings.precomputeReference ?? false,
    isWeighed: useWeighting ?? false,
    ...(ldAlpha !== undefined && { tailWeight: ldAlpha }),
    likelihood: types.reduce((sum, { type, weight }) => sum + (type === 'sft' ? weight : 0), 0),
    comparedPairs: types.some(({ type }) => COMPARED.includes(type)) ? most : undefined,
    loss(scores) {
      const { chosen, rejected, lengths } = scores
      const [c, r] = [mul(ofDivergence(chosen), beta), mul(ofDivergence(rejected), beta)]
      const rewards = { c, r, delta: sub(c, r), lengths, scores, beta, epsilon, tau }
      const parts = types.flatMap(({ type, weight }) => (type === 'sft' ? [] : [mul(LOSSES[type](rewards), weight)]))
      return parts.length === 0 ? null : plus(...parts)
    },
    beta,
  })
}

export const dpoObjective = {
  name: 'dpo',
  help: 'prefers the chosen of two answers, and stays near the model without the adapter',
  schema: DpoSchema,
  rows: 'pairs',
  make: dpo,
  needsReference: () => true,
} as const satisfies BuiltInObjective
