import { aSignal, either, having, optional, requireArgument, requireOptionsOf } from '../arguments.js'
import { aBatch, type Batch } from '../data/batch.js'
import { RunError } from '../errors.js'
import type { LossModel } from './trainable.js'

/**
 * Mean loss over the target tokens of all batches. Keeps sums only: memory does not grow with the data. An aborted `signal` ends
 * it before the next batch with the signal's reason.
 */
export async function meanLoss(
  model: LossModel,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
  options: { signal?: AbortSignal } = {},
): Promise<number> {
  requireArgument('model', model, having('a model', 'lossAsync', 'setDropout'))
  requireArgument(
    'batches',
    batches,
    either(having('batches', Symbol.iterator), having('a stream of them', Symbol.asyncIterator)),
  )
  requireOptionsOf('the options of meanLoss', options, { signal: optional(aSignal) })
  const { signal } = options
  model.setDropout(null)
  let sum = 0
  let tokens = 0
  for await (const batch of batches) {
    signal?.throwIfAborted()
    requireArgument('each of batches', batch, aBatch)
    const { loss, targetTokens } = await model.lossAsync(batch, { gradients: false })
    try {
      sum += await loss.item()
    } finally {
      loss.dispose()
    }
    tokens += targetTokens
  }
  if (tokens === 0) {
    throw new RunError('no-targets', 'The evaluation data has no target token, so its mean loss is undefined.')
  }
  return sum / tokens
}
