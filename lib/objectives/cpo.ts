import { mul, relu, square, sub } from '../tensor/operations/arithmetic.js'
import { oneMinus, smoothedLoss } from './formulas.js'
import type { BuiltInObjective, Objective } from './objective.js'
import { checkedOptions, type LossType, type ObjectiveInput, optionsOf } from './objective-options.js'
import { builtInOfPairs, meansOf, objectiveOfPairs } from './pairs.js'

/** Options of contrastive preference optimisation, with the defaults of TRL. */
export interface CpoOptions extends Pick<ObjectiveInput, 'beta' | 'lossType' | 'labelSmoothing' | 'cpoAlpha'> {}

/**
 * Contrastive preference optimisation (arXiv 2401.08417, equation 5): −ln σ(β (lp_c − lp_r)) of the sums of log-probabilities of the
 * chosen and the rejected answer, without a reference, and `cpoAlpha` times minus the mean log-probability of the tokens of chosen
 * answers. `lossType` may also be `hinge` or `ipo`, the latter with means over tokens.
 * @throws UsageError for an option of the wrong type or range
 */
export function cpo(options: CpoOptions = {}): Objective {
  const { beta = 0.1, lossType = [], labelSmoothing: epsilon, cpoAlpha = 1 } = checkedOptions('cpo', options)
  const [type = 'sigmoid'] = lossType as LossType<'cpo'>[]
  return objectiveOfPairs({
    name: 'cpo',
    options: optionsOf('cpo', options),
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

export const cpoObjective = builtInOfPairs(
  'cpo',
  'prefers the chosen of two answers and imitates it, without a reference',
  cpo,
) satisfies BuiltInObjective
