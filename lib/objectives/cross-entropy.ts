import { z } from 'zod'
import { optionalFlag, real } from '../schema/option.js'
import type { LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { mul, square } from '../tensor/operations/arithmetic.js'
import { gather } from '../tensor/operations/indexing.js'
import { logSoftmax, logSumExp, mean } from '../tensor/operations/reductions.js'
import { likeliestTokens } from '../tensor/operations/sampling.js'
import { keep } from '../tensor/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import { plus } from './formulas.js'
import { type BuiltInObjective, type Objective, sumOverTargets } from './objective.js'
import { meanSum, type WeightedSum } from './weighted-sum.js'

const SftSchema = z.strictObject({
  labelSmoothing: real("share of a target's probability that all tokens get in equal parts", 0, { min: 0, max: 1 }),
  zLoss: real(
    "weight of the squared logarithm of a token's sum of exponentials of logits, which keeps logits small",
    0,
    { min: 0 },
  ),
  tokenAccuracy: optionalFlag(
    'also tell the share of target tokens that are the likeliest, as the metric tokenAccuracy',
  ),
})

/**
 * The mean cross-entropy of the target tokens. With label smoothing ε, targets share that part of their probability with all tokens of
 * the vocabulary: (1 − ε) · cross-entropy + ε · mean of −ln p. The z-loss (PaLM, arXiv 2204.02311, section 5) adds `zLoss` · ln² Z, Z
 * being the sum of the exponentials of a token's logits, which keeps them near a normalised scale.
 */
export function sft(options: LibraryInput<typeof SftSchema> = {}): Objective {
  const { labelSmoothing, zLoss, tokenAccuracy } = parseOptions(SftSchema, options)
  return {
    name: 'sft',
    options: plainOptions(options),
    ...(tokenAccuracy && { metrics: ['tokenAccuracy'] }),
    async loss(model, batch, how) {
      if (labelSmoothing === 0 && zLoss === 0 && !tokenAccuracy) {
        const { loss, targetTokens } = await model.lossAsync(batch, how)
        return { loss, weight: targetTokens }
      }
      const chosen: { ids: Tensor; targets: Int32Array }[] = []
      const sums = await sumOverTargets(model, batch, how, (logits, targets) => {
        if (tokenAccuracy) chosen.push({ ids: keep(likeliestTokens(logits)), targets })
        const logP = logSoftmax(logits)
        const parts = [mul(gather(logP, targets), labelSmoothing - 1)]
        if (labelSmoothing > 0) parts.push(mul(mean(logP, -1), -labelSmoothing))
        if (zLoss > 0) parts.push(mul(square(logSumExp(logits)), zLoss))
        return plus(...parts)
      })
      return tokenAccuracy ? { ...sums, metrics: { tokenAccuracy: await shareChosen(chosen) } } : sums
    },
  }
}

/** Returns the share of chosen tokens that are the targets. */
async function shareChosen(chosen: readonly { ids: Tensor; targets: Int32Array }[]): Promise<WeightedSum> {
  const right: number[] = []
  for (const { ids, targets } of chosen) {
    for (const [row, id] of Array.from(await ids.data(), Number).entries()) right.push(Number(id === targets[row]))
    ids.dispose()
  }
  return meanSum(right)
}

/** Supervised fine-tuning and pretraining. */
export const sftObjective = {
  name: 'sft',
  help: 'is the mean cross-entropy of the target tokens',
  schema: SftSchema,
  make: sft,
} as const satisfies BuiltInObjective
