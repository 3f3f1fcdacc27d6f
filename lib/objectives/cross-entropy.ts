import type { BuiltInObjective } from './objective.js'

/** Supervised fine-tuning and pretraining: the mean cross-entropy of the target tokens. */
export const crossEntropyObjective = {
  name: 'sft',
  help: 'is the mean cross-entropy of the target tokens',
  async loss(model, batch, options) {
    const { loss, targetTokens } = await model.lossAsync(batch, options)
    return { loss, weight: targetTokens }
  },
} as const satisfies BuiltInObjective
