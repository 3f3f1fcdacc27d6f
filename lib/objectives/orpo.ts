import { clamp, exp, log, mul, sub } from '../tensor/operations/arithmetic.js'
import type { Tensor } from '../tensor/tensor.js'
import { oneMinus, softLoss } from './formulas.js'
import type { BuiltInObjective, Objective } from './objective.js'
import { checkedOptions, type ObjectiveInput, optionsOf } from './objective-options.js'
import { builtInOfPairs, meansOf, objectiveOfPairs } from './pairs.js'

/** Options of odds-ratio preference optimisation, with the defaults of TRL. */
export interface OrpoOptions extends Pick<ObjectiveInput, 'beta'> {}

/** The largest probability whose odds are finite in float32. */
const MOST = 1 - 2 ** -23

/** ln (p / (1 − p)) of a = ln p */
const logOdds = (a: Tensor): Tensor => sub(a, log(oneMinus(clamp(exp(a), 0, MOST))))

/**
 * Odds-ratio preference optimisation (arXiv 2403.07691, equations 6 and 7): minus the mean log-probability of all tokens of prompts
 * and chosen answers, and −β ln σ(ln odds_c − ln odds_r) with odds = p/(1 − p), where ln p is the mean log-probability of an answer's
 * tokens. There is no reference.
 * @throws UsageError for an option of the wrong type or range
 */
export function orpo(options: OrpoOptions = {}): Objective {
  const { beta = 0.1 } = checkedOptions('orpo', options)
  return objectiveOfPairs({
    name: 'orpo',
    options: optionsOf('orpo', options),
    likelihood: 1,
    isLikelihoodOfPrompts: true,
    score: meansOf,
    loss: ({ chosen, rejected }) => mul(softLoss(sub(logOdds(chosen), logOdds(rejected))), beta),
    beta,
  })
}

export const orpoObjective = builtInOfPairs(
  'orpo',
  'imitates the chosen of two answers and prefers it by its odds, without a reference',
  orpo,
) satisfies BuiltInObjective
