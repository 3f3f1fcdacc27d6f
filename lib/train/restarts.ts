/** ReMoRA and ReLoRA: every `mergeEvery` steps the adapter is merged permanently and restarted. */
import { writeMerge } from './checkpoints/merge-folders.js'
import type { MergeEvent } from './events.js'
import type { Session } from './session.js'

/** Whether a new adapter takes the next step. Nothing is merged at the end of a run, where no step follows. */
export function restartIsDue({ restarts, state }: Session): boolean {
  return restarts !== null && state.step > 0 && state.step % restarts.every === 0 && state.mergedAt !== state.step
}

/**
 * Merges the adapter and restarts it; only its new tensors get new moments. The old adapter is written first, so that a resumed
 * run can repeat the merge.
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
  for (const parameter of session.parameters) {
    const values = session.valuesToRestore.get(parameter.name)
    if (values) parameter.assign(values)
  }
  session.optimizer.setParameters(session.parameters)
  session.counts = { ...session.counts, effective: 0 }
  session.state = { ...state, merges, mergedAt: state.step }
  session.canBeSaved = true
  return { type: 'merge', step: state.step, merges }
}
