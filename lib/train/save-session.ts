import { MoraError, RunError, reworded, UsageError } from '../common/errors.js'
import { foreignFailure } from '../common/foreign-errors.js'
import { theOption } from '../common/option-names.js'
import { AveragingAdamW } from './averages.js'
import { keepCheckpoint, pruneCheckpoints, writeCheckpoint, writeCheckpointAtOnce } from './checkpoints/checkpoint.js'
import type { CheckpointEvent } from './events.js'
import { modelCard } from './output/model-card.js'
import type { RunOutput, RunWork, Session } from './session.js'

/**
 * Writes a checkpoint of the current step, unless there is one, and removes checkpoints that need not be kept. The next
 * checkpoint replaces one that is written `byTime`.
 */
export async function saveSession(session: Session, { byTime = false } = {}): Promise<CheckpointEvent> {
  const { options, work, output, progress } = session
  const { model, adapter, sync } = work
  const { folder, lastCheckpoint, metrics } = output
  const { state } = progress
  if (!sync.isFirst) {
    throw new UsageError(
      'unfit-options',
      `Checkpoints are written by one rank, and not by rank ${sync.ranks.rank}: ask its run to save.`,
    )
  }
  if (!folder) {
    throw new UsageError('missing-option', `A checkpoint needs a folder: give ${theOption('output')}.`)
  }
  if (lastCheckpoint?.step === state.step) {
    if (!byTime) await keepCheckpoint(lastCheckpoint.path)
    return { type: 'checkpoint', ...lastCheckpoint }
  }
  if (progress.hasEnded) {
    throw new RunError('ended', `The run has ended; its last checkpoint is ${lastCheckpoint?.path ?? 'none'}.`)
  }
  work.canBeSaved = false
  trimMemory(work)
  try {
    // Metrics must be on the disk before the checkpoint: a resumed run would not write them again.
    await metrics.sync()
    const saveAdapter = adapter === null ? null : (place: string) => model.saveAdapter(adapter, place)
    const { path, failure } = await writeCheckpoint(folder.checkpoints, work, state, { saveAdapter, byTime })
    output.lastCheckpoint = { step: state.step, path }
    progress.savedAt = progress.now()
    await pruneCheckpoints(folder.checkpoints, options, state)
    if (failure !== null) throw afterCheckpoint(failure, output)
    return { type: 'checkpoint', step: state.step, path }
  } finally {
    work.canBeSaved = true
  }
}

/**
 * Writes a temporary checkpoint of the last step, unless there is one, while the next step is being computed, for a process
 * that may be killed before that step ends. It is written when this returns, if values can be read at once.
 */
export function saveAtOnce({ work, output: { folder, lastCheckpoint }, progress: { state, hasEnded } }: Session): void {
  if (!folder || hasEnded || !work.canBeSaved || state.step === 0 || lastCheckpoint?.step === state.step) return
  writeCheckpointAtOnce(folder.checkpoints, work, state)
}

/** Frees cached device memory, since saving copies values first: on a CPU the system can use it for that. */
function trimMemory({ model: { device } }: RunWork): void {
  if (device.kind === 'cpu') device.trim()
}

/**
 * Writes the trained adapter or model, how the run ended and the model card to the output folder. Its errors say where the
 * trained values are.
 */
export async function saveResult(session: Session, untrained: string | null): Promise<void> {
  const { work, output, progress } = session
  const { folder, resultStep } = output
  if (!folder) return
  trimMemory(work)
  try {
    const { model, adapter, optimizer, facts } = work
    if (adapter === null) {
      await model.save(folder.model, { dtype: model.dtype, mergeActive: true, overwrite: true })
    } else {
      await model.saveAdapter(adapter, folder.path)
      if (optimizer instanceof AveragingAdamW)
        await optimizer.withAverages(() => model.saveAdapter(adapter, folder.averages))
    }
    const { state } = progress
    const { step: steps, loss, evalLoss, best } = state
    await folder.writeResult({
      steps,
      loss,
      ...(best && { evalLoss, bestStep: best.step, bestEvalLoss: best.evalLoss }),
      resultStep: resultStep ?? steps,
      ...(untrained && { problem: untrained }),
    })
    await folder.writeModelCard(modelCard(facts, state, { isAdapter: adapter !== null, resultStep }))
  } catch (error) {
    throw afterCheckpoint(error, output)
  }
}

/** Adds to an error where the trained values are, if they are on the disk already. */
function afterCheckpoint(error: unknown, { lastCheckpoint }: RunOutput): unknown {
  if (!lastCheckpoint) return error
  const { step, path } = lastCheckpoint
  const { code, message } = foreignFailure(error)
  const failure = error instanceof MoraError ? error : new RunError(code, message, { cause: error })
  const end = `step ${step} is saved in ${path}, from which the run continues once it is resumed`
  return reworded(failure, (message) => `${message.replace(/\.$/, '')}; ${end}.`)
}
