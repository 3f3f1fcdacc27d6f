import { z } from 'zod'
import { optionalReal } from '../schema/option.js'
import type { LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { clamp, exp, log, mul, sub } from '../tensor/operations/arithmetic.js'
import type { Tensor } from '../tensor/tensor.js'
import { oneMinus, softLoss } from './formulas.js'
import type { BuiltInObjective, Objective } from './objective.js'
import { meansOf, objectiveOfPairs } from './pairs.js'

export const OrpoSchema = z.strictObject({
  beta: optionalReal('weight of the odds ratio', { above: 0, defaultText: '0.1' }),
})

/** Options of odds-ratio preference optimisation, with the defaults of TRL. */
export type OrpoOptions = LibraryInput<typeof OrpoSchema>

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
  const { beta = 0.1 } = parseOptions(OrpoSchema, options)
  return objectiveOfPairs({
    name: 'orpo',
    options: plainOptions(options),
    likelihood: 1,
    isLikelihoodOfPrompts: true,
    score: meansOf,
    loss: ({ chosen, rejected }) => mul(softLoss(sub(logOdds(chosen), logOdds(rejected))), beta),
    beta,
  })
}

export const orpoObjective = {
  name: 'orpo',
  help: 'imitates the chosen of two answers and prefers it by its odds, without a reference',
  schema: OrpoSchema,
  rows: 'pairs',
  make: orpo,
} as const satisfies BuiltInObjective
