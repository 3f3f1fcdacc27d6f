/** ReMoRA and ReLoRA: the adapter is merged for good every `mergeEvery` steps, and starts again. */
import { writeMerge } from './checkpoints/merge-folders.js'
import type { MergeEvent } from './events.js'
import type { Session } from './session.js'

/** Whether the next step is to be taken by a fresh adapter. At the end of a run there is none, so nothing is merged. */
export function restartIsDue({ restarts, state }: Session): boolean {
  return restarts !== null && state.step > 0 && state.step % restarts.every === 0 && state.mergedAt !== state.step
}

/**
 * Merges the adapter and starts it again, with fresh moments for its new tensors alone. What was merged is written first,
 * so that a resumed run can repeat it.
 */
export async function restartAdapter(session: Session): Promise<MergeEvent> {
  const { model, output, state } = session
  const restarts = session.restarts!
  const { adapter } = restarts
  const merges = state.merges + 1
  if (output)
    await writeMerge(output.merges, merges, (folder) => model.saveAdapter(adapter, folder, { modules: false }))
  session.canBeSaved = false
  await model.restartAdapter(adapter, restarts.after(merges))
  session.parameters = model.trainableParameters().map(({ parameter }) => parameter)
  session.optimizer.setParameters(session.parameters)
  session.state = { ...state, merges, mergedAt: state.step }
  session.canBeSaved = true
  return { type: 'merge', step: state.step, merges }
}
