import { z } from 'zod'
import { exp, mul } from '../tensor/operations/arithmetic.js'
import { gather } from '../tensor/operations/indexing.js'
import { logSoftmax } from '../tensor/operations/reductions.js'
import { noGrad } from '../tensor/tape.js'
import { type BuiltInObjective, type Objective, sumOverTargets } from './objective.js'

/**
 * Dynamic fine-tuning (arXiv 2508.05629): each target's cross-entropy times its own probability, through which no gradient
 * flows.
 */
export const dft: Objective = {
  name: 'dft',
  options: {},
  loss: (model, batch, options) =>
    sumOverTargets(model, batch, options, (logits, targets) => {
      const logP = gather(logSoftmax(logits), targets)
      const weights = noGrad(() => mul(exp(logP), -1))
      return mul(logP, weights)
    }),
}

export const dftObjective = {
  name: 'dft',
  help: 'weights each by its own probability, which gets no gradient',
  schema: z.strictObject({}),
  make: () => dft,
} as const satisfies BuiltInObjective
