import type { Batch } from '../data/batch.js'
import { RunError } from '../errors.js'
import { firstNonFinite } from './finite.js'
import type { Ranks } from './ranks.js'
import type { HeldValues, LossModel, Optimizer, StepOptions, TrainedParameter } from './trainable.js'

export interface StepReport {
  /** Mean over the step's target tokens, before the update. */
  loss: number
  /** Global norm of the mean gradient, before clipping. */
  gradNorm: number
  targetTokens: number
  tokens: number
  /** When loss or norm is not finite: nothing was updated, and this is the first parameter with such a gradient. */
  nonFinite: { parameter: string | null } | null
}

/**
 * One optimizer step: the gradients of every micro-batch add up, and are divided once, by the target tokens of the whole
 * step; so the result does not depend on how the rows were cut into micro-batches. A signal that is aborted between two of
 * them ends the step with its reason and no gradients.
 */
export async function trainStep(
  model: Pick<LossModel, 'lossAsync'>,
  parameters: readonly TrainedParameter[],
  optimizer: Optimizer,
  batches: Iterable<Batch>,
  ranks: Ranks,
  { signal, ...options }: Omit<StepOptions, 'scaleGradients'> & { signal?: AbortSignal },
): Promise<StepReport> {
  let lossSum = 0
  let targetTokens = 0
  let tokens = 0
  for (const batch of batches) {
    if (signal?.aborted) {
      for (const parameter of parameters) parameter.zeroGrad()
      throw signal.reason
    }
    const { loss, targetTokens: targets } = await model.lossAsync(batch)
    try {
      await loss.backward()
      lossSum += await loss.item()
    } finally {
      loss.dispose()
    }
    targetTokens += targets
    tokens += batch.ids.length
  }

  const total = await ranks.reduce(parameters, { lossSum, targetTokens })
  if (total.targetTokens === 0) {
    throw new RunError('no-targets', 'The rows of this step have no token to train, so its mean loss is undefined.')
  }
  const gradients = heldGradients(parameters)
  const norm = optimizer.step({ ...options, scaleGradients: 1 / total.targetTokens })
  try {
    const gradNorm = await norm.item()
    const loss = total.lossSum / total.targetTokens
    const finite = Number.isFinite(gradNorm) && Number.isFinite(loss)
    const nonFinite = finite ? null : { parameter: await firstNonFinite(gradients) }
    return { loss, gradNorm, targetTokens: total.targetTokens, tokens, nonFinite }
  } finally {
    norm.dispose()
    for (const { tensor } of gradients) tensor.release()
  }
}

/** The gradients, kept beyond the optimizer's step: when the norm is not finite they tell where that began. */
function heldGradients(parameters: readonly TrainedParameter[]): { name: string; tensor: HeldValues }[] {
  return parameters.flatMap(({ name, grad }) => {
    grad?.retain()
    return grad ? [{ name, tensor: grad }] : []
  })
}
