import { RunError } from '../common/errors.js'
import type { Batch } from '../data/batch.js'
import { firstNonFinite } from './finite.js'
import { GradientSum } from './gradient-sum.js'
import { PassSums } from './pass-sums.js'
import { eachPass } from './passes.js'
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

type StepSession = Pick<Session, 'objective' | 'model' | 'parameters' | 'optimizer' | 'sync' | 'signal' | 'canBeSaved'>

/**
 * One optimizer step: losses, weights and gradients of every micro-batch and rank add up, and are divided once, by the weight
 * of the whole step; so the result does not depend on how the rows were cut into micro-batches or dealt out to ranks. A signal
 * of any rank that is aborted between two micro-batches ends the step on all of them, with null and no gradients. Otherwise
 * the session cannot be saved until the caller has noted the step.
 */
export async function optimizerStep(
  session: StepSession,
  batches: Iterable<Batch>,
  options: Omit<StepOptions, 'scaleGradients'>,
): Promise<StepReport | null> {
  const { parameters, optimizer } = session
  const sums = await addUp(session, batches).catch((error: unknown) => {
    forgetGradients(parameters)
    throw error
  })
  if (!sums) {
    forgetGradients(parameters)
    return null
  }
  const gradients = heldGradients(parameters)
  session.canBeSaved = false
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

/** Losses and gradients of the step, over all ranks; null when a rank gave it up. */
async function addUp(session: StepSession, batches: Iterable<Batch>): Promise<PassSums | null> {
  const { objective, model, parameters, sync } = session
  const own = new PassSums(objective.metrics)
  const gradients = new GradientSum(sync, parameters, model.shards)
  const last = {
    isOf: ({ isLast }: MarkedBatch) => isLast,
    begin: () => gradients.begin(),
    onPast: (unit: number) => gradients.onPast(unit),
  }
  const drop = await eachPass(session, markingLast(batches), { gradients: true, last }, async ({ batch, isLast }) => {
    const part = await objective.loss(model, batch, { gradients: true })
    try {
      // What the last pass adds to is on its way to the other ranks while the rest is computed.
      await part.loss.backward({ onGradient: isLast || model.shards ? gradients.onGradient : undefined })
      own.add(part, await part.loss.item(), batch)
    } finally {
      part.loss.dispose()
    }
  }).catch(async (error: unknown) => {
    // Ranks with a whole model each come to the sums however many passes they make, others once all make the last.
    if (!model.shards || gradients.hasBegun) await gradients.finish().catch(() => {})
    throw error
  })
  await gradients.finish()
  const all = await sync.sum([...own.values, ...gradients.reached], { drop })
  if (!all) return null
  gradients.keepReached(all.subarray(own.values.length))
  const sums = own.over(all)
  if (sums.weight > 0) return sums
  throw new RunError('no-targets', 'The rows of this step have no token to train, so its mean loss is undefined.')
}

interface MarkedBatch {
  readonly batch: Batch
  readonly isLast: boolean
}

function* markingLast(batches: Iterable<Batch>): Iterable<MarkedBatch> {
  let batch: Batch | null = null
  for (const next of batches) {
    if (batch) yield { batch, isLast: false }
    batch = next
  }
  if (batch) yield { batch, isLast: true }
}

function forgetGradients(parameters: readonly TrainedParameter[]): void {
  for (const parameter of parameters) parameter.zeroGrad()
}

/** The gradients, kept beyond the optimizer's step: when the norm is not finite they tell where that began. */
function heldGradients(parameters: readonly TrainedParameter[]): { name: string; tensor: HeldValues }[] {
  return parameters.flatMap(({ name, grad }) => {
    grad?.retain()
    return grad ? [{ name, tensor: grad }] : []
  })
}
