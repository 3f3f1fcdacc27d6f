import type { Batch } from '../data/batch.js'
import { RunError } from '../errors.js'
import { firstNonFinite } from './finite.js'
import { PassSums } from './pass-sums.js'
import { sumGradients } from './ranks.js'
import type { Session } from './session.js'
import type { HeldValues, StepOptions, TrainedParameter } from './trainable.js'

export interface StepReport {
  /** Over all ranks. */
  sums: PassSums
  /** Global norm of the mean gradient, before clipping. */
  gradNorm: number
  /** When loss or norm is not finite: nothing was updated, and this is the first parameter with such a gradient. */
  nonFinite: { parameter: string | null } | null
}

/**
 * One optimizer step: losses, weights and gradients of every micro-batch and rank add up, and are divided once, by the weight
 * of the whole step; so the result does not depend on how the rows were cut into micro-batches or dealt out to ranks. A signal
 * that is aborted between two micro-batches ends the step with its reason and no gradients.
 */
export async function trainStep(
  session: Pick<Session, 'objective' | 'model' | 'parameters' | 'optimizer' | 'ranks' | 'signal'>,
  batches: Iterable<Batch>,
  options: Omit<StepOptions, 'scaleGradients'>,
): Promise<StepReport> {
  const { objective, model, parameters, optimizer, ranks, signal } = session
  const own = new PassSums(objective.metrics)
  for (const batch of batches) {
    if (signal?.aborted) {
      for (const parameter of parameters) parameter.zeroGrad()
      throw signal.reason
    }
    const part = await objective.loss(model, batch, { gradients: true })
    try {
      await part.loss.backward()
      own.add(part, await part.loss.item(), batch)
    } finally {
      part.loss.dispose()
    }
  }

  const sums = await own.over(ranks)
  if (sums.weight === 0) {
    throw new RunError('no-targets', 'The rows of this step have no token to train, so its mean loss is undefined.')
  }
  await sumGradients(ranks, parameters)
  const gradients = heldGradients(parameters)
  const norm = optimizer.step({ ...options, scaleGradients: 1 / sums.weight })
  try {
    const gradNorm = await norm.item()
    const finite = Number.isFinite(gradNorm) && Number.isFinite(sums.loss)
    return { sums, gradNorm, nonFinite: finite ? null : { parameter: await firstNonFinite(gradients) } }
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
