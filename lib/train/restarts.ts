/** ReMoRA and ReLoRA: every `mergeEvery` steps the adapter is merged permanently and restarted. */
import { writeMerge } from './checkpoints/merge-folders.js'
import type { MergeEvent } from './events.js'
import type { Session } from './session.js'

/**
 * Merges the adapter and restarts it; only its new tensors get new moments. The old adapter is written first, so that a resumed
 * run can repeat the merge.
 */
export async function restartAdapter({ work, output: { folder }, progress }: Session): Promise<MergeEvent> {
  const { model, optimizer } = work
  const { adapter, values, after } = work.restarts!
  const { step, merges: before } = progress.state
  const merges = before + 1
  if (folder) await writeMerge(folder.merges, merges, (place) => model.saveAdapter(adapter, place, { modules: false }))
  work.canBeSaved = false
  await model.restartAdapter(adapter, after(merges))
  work.parameters = model.trainableParameters().map(({ parameter }) => parameter)
  for (const parameter of work.parameters) {
    const restored = values.get(parameter.name)
    if (restored) parameter.assign(restored)
  }
  optimizer.setParameters(work.parameters)
  progress.counts = { ...progress.counts, effective: 0 }
  progress.state = { ...progress.state, merges, mergedAt: step }
  work.canBeSaved = true
  return { type: 'merge', step, merges }
}
