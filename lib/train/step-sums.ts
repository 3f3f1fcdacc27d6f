import type { Batch } from '../data/batch.js'
import type { LossOptions } from '../objectives/objective.js'
import type { Session } from './session.js'

type Batches = Iterable<Batch> | AsyncIterable<Batch>

/**
 * Returns the batches of a step with what the objective has to know of all of them before the loss of the first, over all ranks;
 * null if a rank's signal is aborted meanwhile.
 */
export async function withStepSums(
  { objective: { stepSums }, passes, sync, signal }: Pick<Session, 'objective' | 'passes' | 'sync' | 'signal'>,
  batches: Batches,
): Promise<({ batches: Batches } & Pick<LossOptions, 'stepSums'>) | null> {
  if (!stepSums) return { batches }
  const all: Batch[] = []
  const own = new Float64Array(stepSums.length)
  for await (const batch of batches) {
    if (signal?.aborted) break
    all.push(batch)
    for (const [i, value] of (await stepSums.of(passes, batch)).entries()) own[i]! += value
  }
  const sums = await sync.sum([...own], { drop: signal?.aborted ?? false })
  return sums && { batches: all, stepSums: [...sums] }
}
