import { exp, mul } from '../tensor/operations/arithmetic.js'
import { gather } from '../tensor/operations/indexing.js'
import { logSoftmax, sum } from '../tensor/operations/reductions.js'
import { noGrad, withRecording } from '../tensor/tape.js'
import type { BuiltInObjective } from './objective.js'

/**
 * Dynamic fine-tuning (arXiv 2508.05629): each target's cross-entropy times its own probability, through which no gradient
 * flows.
 */
export const dft = {
  name: 'dft',
  help: 'weights each by its own probability, which gets no gradient',
  async loss(model, batch, { gradients }) {
    const states = await model.forwardAsync(batch, { rows: 'targets', gradients })
    const targets = batch.targets.filter((target) => target >= 0)
    try {
      const total = withRecording(gradients, () =>
        states.sumOverLogits((logits, from, to) => {
          const logP = gather(logSoftmax(logits), targets.subarray(from, to))
          return sum(
            mul(
              logP,
              noGrad(() => mul(exp(logP), -1)),
            ),
          )
        }),
      )
      return { loss: total, weight: batch.targetTokens }
    } finally {
      states.dispose()
    }
  },
} as const satisfies BuiltInObjective
