import { z } from 'zod'
import { aSignal, check, having, optionsSchema } from '../common/arguments.js'
import { RunError } from '../common/errors.js'
import { aBatch, type Batch } from '../data/batch.js'
import type { LoadedModel } from '../models/index.js'
import { crossEntropyObjective } from '../objectives/cross-entropy.js'
import { runObjective } from '../objectives/objective.js'
import { PassSums } from './pass-sums.js'
import { eachPass } from './passes.js'
import { RankSync } from './rank-sync.js'
import type { Session } from './session.js'
import { withStepSums } from './step-sums.js'

const meanLossArguments = {
  model: having('a model', 'lossAsync', 'setDropout'),
  batches: z.union([having('batches', Symbol.iterator), having('a stream of them', Symbol.asyncIterator)]),
  options: optionsSchema('the options of meanLoss', { signal: aSignal.optional() }),
}

/**
 * Returns the mean loss over the target tokens of all batches. It keeps sums only: memory does not grow with the data. If
 * `signal` is aborted, it rejects before the next batch with the signal's reason.
 */
export async function meanLoss(
  model: LoadedModel,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
  options: { signal?: AbortSignal } = {},
): Promise<number> {
  check({ model, batches, options }, meanLossArguments)
  const { signal } = options
  const sums = await evaluateBatches(
    { objective: runObjective(crossEntropyObjective), passes: model, sync: new RankSync(), signal },
    batches,
  )
  if (!sums) throw signal!.reason
  return sums.loss
}

/**
 * Returns the sums of an objective over all batches of all ranks, from forward passes without dropout; null if a rank's signal
 * was aborted meanwhile.
 */
export async function evaluateBatches(
  session: Pick<Session, 'objective' | 'passes' | 'sync' | 'signal'>,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
): Promise<PassSums | null> {
  const { objective, passes, sync, signal } = session
  passes.setDropout(null)
  const own = new PassSums(objective.metrics)
  const gradients = false
  const step = await withStepSums(session, batches)
  if (!step) return null
  const { stepSums } = step
  const drop = await eachPass({ passes, sync, signal }, step.batches, { gradients }, async (batch) => {
    check({ batch }, { batch: aBatch })
    const part = await objective.loss(passes, batch, { gradients, stepSums })
    try {
      own.add(part, await part.loss.item(), batch)
    } finally {
      part.loss.dispose()
    }
  })
  const all = await sync.sum([...own.values], { drop })
  if (!all) return null
  const sums = own.over(all)
  if (sums.weight === 0) {
    throw new RunError('no-targets', 'The evaluation data has no target token, so its mean loss is undefined.')
  }
  return sums
}
