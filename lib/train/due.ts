/** Decides which work is due after the steps so far. A run that is resumed at any point decides as if it had never ended. */
import { endsWithBest } from '../options/index.js'
import { isByTime } from './checkpoints/checkpoint.js'
import type { Session } from './session.js'

export function evaluationIsDue({ options: { evalEvery: every }, rows, progress: { state } }: Session): boolean {
  if (!rows.evaluation || state.step === 0 || state.evaluatedAt === state.step) return false
  return state.step === rows.steps.totalSteps || (every !== undefined && state.step % every === 0)
}

/** Samples are due before the first step, after every `sampleEvery`, and after the last step. */
export function samplesAreDue({ options, work, rows, progress: { state } }: Session): boolean {
  if (!work.sync.isFirst || options.samplePrompt === undefined || state.sampledAt === state.step) return false
  if (state.step === 0 || state.step === rows.steps.totalSteps) return true
  return options.sampleEvery !== undefined && state.step % options.sampleEvery === 0
}

/** Returns the checkpoint that is due; the next one replaces it if it is due `byTime`. */
export function dueCheckpoint(session: Session): { byTime: boolean } | null {
  const { options, rows, output, progress } = session
  const { state } = progress
  if (!output.folder || state.step === 0 || hasLastingCheckpoint(session)) return null
  if (options.saveEvery !== undefined && state.step % options.saveEvery === 0) return { byTime: false }
  if (options.keepBest && state.best?.step === state.step) return { byTime: false }
  const isSaved = output.lastCheckpoint?.step === state.step || state.step === rows.steps.totalSteps
  // Without keepBest, only the last of these stays.
  if (!isSaved && endsWithBest(options) && state.best?.step === state.step) return { byTime: true }
  return !isSaved && timeIsOver(session) ? { byTime: true } : null
}

/** Whether more than `saveMinutes` of work could be lost if the next step took as long as the last one. */
function timeIsOver({ options: { saveMinutes }, progress: { now, savedAt, steppedAt } }: Session): boolean {
  const time = now()
  return saveMinutes > 0 && time - savedAt + (time - steppedAt) > saveMinutes * 60_000
}

/** Whether the current step has a checkpoint that no newer one will replace. */
export function hasLastingCheckpoint({ output: { lastCheckpoint }, progress }: Session): boolean {
  return lastCheckpoint?.step === progress.state.step && !isByTime(lastCheckpoint.path)
}

/** Returns why the run ends before its last step; null while `patience` is not over. */
export function patienceIsOver({ options: { patience }, progress: { state } }: Session): string | null {
  if (patience === undefined || state.evaluationsWithoutBetter < patience) return null
  const best = `${state.best?.evalLoss.toPrecision(5)} at step ${state.best?.step}`
  return `Training ends at step ${state.step}: ${patience} evaluations were not better than ${best}.`
}

/** Whether the adapter restarts before the next step. Nothing is merged at the end of a run, where no step follows. */
export function restartIsDue({ work: { restarts }, progress: { state } }: Session): boolean {
  return restarts !== null && state.step > 0 && state.step % restarts.every === 0 && state.mergedAt !== state.step
}
