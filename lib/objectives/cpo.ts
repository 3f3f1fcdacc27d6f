import { z } from 'zod'
import { choices, optionalReal, real } from '../schema/option.js'
import type { LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { mul, relu, square, sub } from '../tensor/operations/arithmetic.js'
import { oneMinus, smoothedLoss } from './formulas.js'
import type { BuiltInObjective, Objective } from './objective.js'
import { meansOf, objectiveOfPairs } from './pairs.js'

export const CpoSchema = z.strictObject({
  beta: optionalReal('scale of the compared log-probabilities', { above: 0, defaultText: '0.1' }),
  lossType: choices("the loss by TRL's name", ['sigmoid', 'hinge', 'ipo'], { most: 1, defaultText: 'sigmoid' }),
  labelSmoothing: real('share of pairs whose order is wrong', 0, { min: 0, max: 1 }),
  cpoAlpha: optionalReal('weight of the likelihood of chosen answers', { min: 0, defaultText: '1' }),
})

/** Options of contrastive preference optimisation, with the defaults of TRL. */
export type CpoOptions = LibraryInput<typeof CpoSchema>

/**
 * Contrastive preference optimisation (arXiv 2401.08417, equation 5): −ln σ(β (lp_c − lp_r)) of the sums of log-probabilities of the
 * chosen and the rejected answer, without a reference, and `cpoAlpha` times minus the mean log-probability of the tokens of chosen
 * answers. `lossType` may also be `hinge` or `ipo`, the latter with means over tokens.
 * @throws UsageError for an option of the wrong type or range
 */
export function cpo(options: CpoOptions = {}): Objective {
  const { beta = 0.1, lossType = [], labelSmoothing: epsilon, cpoAlpha = 1 } = parseOptions(CpoSchema, options)
  const [type = 'sigmoid'] = lossType
  return objectiveOfPairs({
    name: 'cpo',
    options: plainOptions(options),
    likelihood: cpoAlpha,
    score: type === 'ipo' ? meansOf : undefined,
    loss({ chosen, rejected }) {
      const d = sub(chosen, rejected)
      if (type === 'ipo') return square(sub(d, 1 / (2 * beta)))
      return type === 'hinge' ? relu(oneMinus(mul(d, beta))) : smoothedLoss(mul(d, beta), epsilon)
    },
    beta,
  })
}

export const cpoObjective = {
  name: 'cpo',
  help: 'prefers the chosen of two answers and imitates it, without a reference',
  schema: CpoSchema,
  rows: 'pairs',
  make: cpo,
} as const satisfies BuiltInObjective
