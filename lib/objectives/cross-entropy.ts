import { mul, square } from '../tensor/operations/arithmetic.js'
import { gather } from '../tensor/operations/indexing.js'
import { logSoftmax, logSumExp, mean } from '../tensor/operations/reductions.js'
import { plus } from './formulas.js'
import { type BuiltInObjective, type Objective, sumOverTargets } from './objective.js'
import { type ObjectiveInput, optionsOf } from './objective-options.js'

/**
 * The mean cross-entropy of the target tokens. With label smoothing ε, targets share that part of their probability with all tokens of
 * the vocabulary: (1 − ε) · cross-entropy + ε · mean of −ln p. The z-loss (PaLM, arXiv 2204.02311, section 5) adds `zLoss` · ln² Z, Z
 * being the sum of the exponentials of a token's logits, which keeps them near a normalised scale.
 */
const crossEntropyWith = ({ labelSmoothing = 0, zLoss = 0 }: SftOptions): Objective => ({
  name: 'sft',
  async loss(model, batch, options) {
    if (labelSmoothing === 0 && zLoss === 0) {
      const { loss, targetTokens } = await model.lossAsync(batch, options)
      return { loss, weight: targetTokens }
    }
    return sumOverTargets(model, batch, options, (logits, targets) => {
      const logP = logSoftmax(logits)
      const parts = [mul(gather(logP, targets), labelSmoothing - 1)]
      if (labelSmoothing > 0) parts.push(mul(mean(logP, -1), -labelSmoothing))
      if (zLoss > 0) parts.push(mul(square(logSumExp(logits)), zLoss))
      return plus(...parts)
    })
  },
})

type SftOptions = Pick<ObjectiveInput, 'labelSmoothing' | 'zLoss'>

/** Supervised fine-tuning and pretraining. */
export const crossEntropyObjective = {
  ...crossEntropyWith({}),
  name: 'sft',
  help: 'is the mean cross-entropy of the target tokens',
  withOptions: (options) => crossEntropyWith(optionsOf('sft', options)),
} as const satisfies BuiltInObjective
