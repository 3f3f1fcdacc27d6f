import { z } from 'zod'
import { optionalReal } from '../schema/option.js'
import type { LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { exp, mul, sub } from '../tensor/operations/arithmetic.js'
import type { Tensor } from '../tensor/tensor.js'
import { oneMinus, softLoss } from './formulas.js'
import type { BuiltInObjective, Objective } from './objective.js'
import { meansOf, objectiveOfPairs } from './pairs.js'

export const SimpoSchema = z.strictObject({
  beta: optionalReal('scale of the compared log-probabilities', { above: 0, defaultText: '2' }),
  cpoAlpha: optionalReal('weight of the likelihood of chosen answers', { min: 0, defaultText: '0' }),
  simpoGamma: optionalReal('the margin between rewards of chosen and rejected answers', { min: 0, defaultText: '1' }),
  alphapoAlpha: optionalReal('shape of rewards: 0 is SimPO, other values AlphaPO', { defaultText: '0' }),
})

/** Options of simple preference optimisation. */
export type SimpoOptions = LibraryInput<typeof SimpoSchema>

/**
 * Simple preference optimisation (arXiv 2405.14734, equation 6): −ln σ(β (lp_c/n_c − lp_r/n_r) − γ), with the mean log-probability of
 * an answer's tokens, without a reference. With α = `alphapoAlpha` it is AlphaPO (arXiv 2501.03884): the mean a becomes
 * (1 − exp(−α a)) / α. `cpoAlpha` adds the likelihood of chosen answers (CPO-SimPO).
 * @throws UsageError for an option of the wrong type or range
 */
export function simpo(options: SimpoOptions = {}): Objective {
  const { beta = 2, simpoGamma = 1, cpoAlpha = 0, alphapoAlpha: alpha = 0 } = parseOptions(SimpoSchema, options)
  const shaped = (a: Tensor) => (alpha === 0 ? a : mul(oneMinus(exp(mul(a, -alpha))), 1 / alpha))
  return objectiveOfPairs({
    name: 'simpo',
    options: plainOptions(options),
    likelihood: cpoAlpha,
    score(scores) {
      const { chosen, rejected } = meansOf(scores)
      return { chosen: shaped(chosen), rejected: shaped(rejected) }
    },
    loss: ({ chosen, rejected }) => softLoss(sub(mul(sub(chosen, rejected), beta), simpoGamma)),
    beta,
  })
}

export const simpoObjective = {
  name: 'simpo',
  help: 'prefers the answer whose tokens are likelier on average, by a margin',
  schema: SimpoSchema,
  rows: 'pairs',
  make: simpo,
} as const satisfies BuiltInObjective
