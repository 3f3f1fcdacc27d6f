import type { Batch } from '../batches/batch.js'
import { RunError } from '../common/errors.js'
import type { SampledStep } from '../objectives/rollouts.js'
import type { AdamWStepOptions } from '../optim/adamw.js'
import type { Parameter } from '../tensor/parameter.js'
import type { Tensor } from '../tensor/tensor.js'
import { firstNonFinite } from './finite.js'
import { GradientSum } from './gradient-sum.js'
import { PassSums } from './pass-sums.js'
import { eachPass, withStepSums } from './passes.js'
import type { RunWork } from './session.js'

interface StepReport {
  /** Over all ranks. */
  sums: PassSums
  /** Global norm of the mean gradient, before clipping. */
  gradNorm: number
  /** Set if loss or norm is not finite: nothing was updated; `parameter` is the first whose gradient is not finite. */
  nonFinite: { parameter: string | null } | null
}

type StepWork = Pick<RunWork, 'objective' | 'passes' | 'parameters' | 'optimizer' | 'sync' | 'signal' | 'canBeSaved'>

/**
 * Takes one optimizer step. Losses, weights and gradients of all micro-batches and ranks are summed and divided once, by the
 * total weight of the step, so the result does not depend on how rows are split into micro-batches or distributed over ranks.
 * If the signal of any rank is aborted between two micro-batches, the step ends on all ranks with null and no gradients.
 * Otherwise the run cannot be saved until the caller has noted the step.
 */
export async function optimizerStep(
  work: StepWork,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
  options: Required<Pick<AdamWStepOptions, 'learningRate' | 'maxGradNorm'>>,
  sampled: Pick<SampledStep, 'rollouts' | 'metrics'> | null = null,
): Promise<StepReport | null> {
  const { parameters, optimizer } = work
  const sums = await addUp(work, batches, sampled).catch((error: unknown) => {
    forgetGradients(parameters)
    throw error
  })
  if (!sums) {
    forgetGradients(parameters)
    return null
  }
  const gradients = retainGradients(parameters)
  work.canBeSaved = false
  // Moments alone would move the weights on.
  if (gradients.length === 0 && sampled) return { sums, gradNorm: 0, nonFinite: null }
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

/** Sums losses and gradients of the step over all ranks; null if a rank gave up. */
async function addUp(
  work: StepWork,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
  sampled: Pick<SampledStep, 'rollouts' | 'metrics'> | null,
): Promise<PassSums | null> {
  const { objective, passes, parameters, sync } = work
  const { shards } = passes
  const step = await withStepSums(work, batches)
  if (!step) return null
  const { stepSums } = step
  const own = new PassSums(objective.metrics)
  own.addMetrics(sampled?.metrics)
  const gradients = new GradientSum(sync, parameters, shards)
  const last = {
    isOf: ({ isLast }: MarkedBatch) => isLast,
    begin: () => gradients.begin(),
    onPast: (unit: number) => gradients.onPast(unit),
  }
  const drop = await eachPass(work, markingLast(step.batches), { gradients: true, last }, async ({ batch, isLast }) => {
    const part = await objective.loss(passes, batch, { gradients: true, stepSums, rollouts: sampled?.rollouts })
    try {
      // Gradients that the last pass completes are sent to the other ranks while the rest is computed.
      const onGradient = isLast || shards ? gradients.onGradient : undefined
      if (part.loss.requiresGrad !== false) await part.loss.backward({ onGradient })
      own.add(part, await part.loss.item(), batch)
    } finally {
      part.loss.dispose()
    }
  }).catch(async (error: unknown) => {
    // Ranks with a whole model always reach the sums; ranks of a sharded model only once all make the last pass.
    if (!shards || gradients.hasBegun) await gradients.finish().catch(() => {})
    throw error
  })
  await gradients.finish()
  const all = await sync.sum([...own.values, ...gradients.reached], { drop })
  if (!all) return null
  gradients.keepReached(all.subarray(own.values.length))
  const sums = own.over(all)
  if (sums.weight > 0 || sampled) return sums
  throw new RunError('no-targets', 'The rows of this step have no token to train, so its mean loss is undefined.')
}

interface MarkedBatch {
  readonly batch: Batch
  readonly isLast: boolean
}

async function* markingLast(batches: Iterable<Batch> | AsyncIterable<Batch>): AsyncIterable<MarkedBatch> {
  let batch: Batch | null = null
  for await (const next of batches) {
    if (batch) yield { batch, isLast: false }
    batch = next
  }
  if (batch) yield { batch, isLast: true }
}

function forgetGradients(parameters: readonly Parameter[]): void {
  for (const parameter of parameters) parameter.zeroGrad()
}

/** Retains the gradients beyond the optimizer's step: if the norm is not finite, they show where that began. */
function retainGradients(parameters: readonly Parameter[]): { name: string; tensor: Tensor }[] {
  return parameters.flatMap(({ name, grad }) => {
    grad?.retain()
    return grad ? [{ name, tensor: grad }] : []
  })
}
