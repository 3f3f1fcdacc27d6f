import { add, mul } from '../tensor/operations/arithmetic.js'
import { gather } from '../tensor/operations/indexing.js'
import { logSoftmax, sum } from '../tensor/operations/reductions.js'
import { type BuiltInObjective, type Objective, sumOverTargets } from './objective.js'

/** Supervised fine-tuning and pretraining: the mean cross-entropy of the target tokens. */
export const crossEntropyObjective = {
  name: 'sft',
  help: 'is the mean cross-entropy of the target tokens',
  async loss(model, batch, options) {
    const { loss, targetTokens } = await model.lossAsync(batch, options)
    return { loss, weight: targetTokens }
  },
  withOptions: ({ labelSmoothing }) => (labelSmoothing ? smoothed(Number(labelSmoothing)) : undefined),
} as const satisfies BuiltInObjective

/** Targets share ε of their probability with all V tokens: (1 - ε) · cross-entropy + ε · mean of -ln p over the vocabulary. */
const smoothed = (epsilon: number): Objective => ({
  name: 'sft',
  loss: (model, batch, options) =>
    sumOverTargets(model, batch, options, (logits, targets) => {
      const logP = logSoftmax(logits)
      const everywhere = mul(sum(logP), -epsilon / logits.shape[1]!)
      return add(mul(sum(gather(logP, targets)), epsilon - 1), everywhere)
    }),
})
