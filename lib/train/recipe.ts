import type { HeldForTraining } from '../models/adaptation/training-hold.js'
import { isByTime } from './checkpoints/checkpoint.js'
import type { EvaluationEvent, NoticeEvent, SampleEvent, StepEvent, TrainResult } from './events.js'
import { Metrics } from './output/metrics.js'
import { restartAdapter, restartIsDue } from './restarts.js'
import type { RunControl } from './run.js'
import { samplesAreDue, takeSamples } from './samples.js'
import { evaluateSession, saveResult, saveSession } from './save-session.js'
import type { Session } from './session.js'
import { notePeak, takeStep } from './take-step.js'

/**
 * Training from beginning to end: set up, train, save. What its signal aborts ends as what `stop` ends, with everything
 * saved, and then rejects with the signal's reason. Every piece of work is exclusive, and events are sent between them: there
 * the reader of the run may save, pause or use the model.
 */
export async function runTraining(
  control: RunControl,
  held: HeldForTraining,
  setUp: () => Promise<Session>,
): Promise<TrainResult> {
  const { session, metrics } = await control.exclusive(async () => {
    const session = await held.change(setUp)
    const metrics = new Metrics(session, control.logged)
    control.onSave(async () => {
      await metrics.write()
      return (await saveSession(session)).path
    })
    return { session, metrics }
  })
  try {
    const isAborted = await abortedIn(session, () => takeTurns(session, control, held, metrics))
    if (session.output && !hasLastingCheckpoint(session)) {
      await control.emit(await control.exclusive(() => saveSession(session)))
    }
    await control.exclusive(() => saveResult(session))
    await metrics.end(session.state.step)
    for (const event of metrics.takeEvents()) await control.emit(event)
    const result = resultOf(session, control.stopRequested)
    if (isAborted || result.stopped) session.signal?.throwIfAborted()
    return result
  } finally {
    session.ended = true
    session.optimizer.dispose()
    session.output?.close()
  }
}

/** Whether the session's signal put an end to the work. */
async function abortedIn({ signal }: Session, work: () => Promise<void>): Promise<boolean> {
  try {
    await work()
    return false
  } catch (error) {
    if (!signal?.aborted || error !== signal.reason) throw error
    return true
  }
}

/**
 * Each round first does what the steps so far call for (an evaluation, samples, a checkpoint, a restart of the adapter) and
 * then takes the next step; so a run that is resumed at any point goes on as if it had never ended.
 */
async function takeTurns(
  session: Session,
  control: RunControl,
  held: HeldForTraining,
  metrics: Metrics,
): Promise<void> {
  const measured = async (work: () => Promise<StepEvent | EvaluationEvent>) => {
    const event = await control.exclusive(async () => metrics.hold(await work()))
    try {
      await control.emit(event)
    } finally {
      await control.exclusive(() => metrics.write())
    }
    for (const logged of metrics.takeEvents()) await control.emit(logged)
  }
  const report = async (event: NoticeEvent | SampleEvent) => {
    if (session.ranks.reportsProgress) await control.emit(event)
  }
  for (const message of session.notices) await report({ type: 'notice', message })
  while (!control.stopRequested) {
    if (evaluationIsDue(session)) await measured(() => evaluateSession(session))
    if (samplesAreDue(session)) {
      for (const sample of await control.exclusive(() => takeSamples(session))) await report(sample)
    }
    const due = dueCheckpoint(session)
    if (due) await control.emit(await control.exclusive(() => saveSession(session, due)))
    if (patienceIsOver(session)) {
      await report({ type: 'notice', message: patienceNotice(session) })
      break
    }
    if (session.state.step >= session.data.totalSteps) break
    await control.whilePaused()
    if (control.stopRequested) break
    if (restartIsDue(session)) {
      await control.emit(await control.exclusive(() => held.change(() => restartAdapter(session))))
      continue
    }
    await measured(() => takeStep(session))
  }
}

function evaluationIsDue({ state, options, data }: Session): boolean {
  if (!data.hasEvaluation || state.step === 0 || state.evaluatedAt === state.step) return false
  const every = options.evalEvery
  return state.step === data.totalSteps || (every !== undefined && state.step % every === 0)
}

function dueCheckpoint(session: Session): { byTime: boolean } | null {
  const { state, options, output, lastCheckpoint, data } = session
  if (!output || state.step === 0 || hasLastingCheckpoint(session)) return null
  if (options.saveEvery !== undefined && state.step % options.saveEvery === 0) return { byTime: false }
  if (options.keepBest && state.best?.step === state.step) return { byTime: false }
  const isSaved = lastCheckpoint?.step === state.step || state.step === data.totalSteps
  return !isSaved && timeIsOver(session) ? { byTime: true } : null
}

/** Whether more than `saveMinutes` of work could be lost if the next step took as long as the last one. */
function timeIsOver({ options: { saveMinutes }, now, savedAt, steppedAt }: Session): boolean {
  const time = now()
  return saveMinutes > 0 && time - savedAt + (time - steppedAt) > saveMinutes * 60_000
}

/** Whether the current step has a checkpoint that no newer one will replace. */
function hasLastingCheckpoint({ state, lastCheckpoint }: Session): boolean {
  return lastCheckpoint?.step === state.step && !isByTime(lastCheckpoint.path)
}

function patienceIsOver({ state, options }: Session): boolean {
  return options.patience !== undefined && state.evaluationsWithoutBetter >= options.patience
}

function patienceNotice({ state, options }: Session): string {
  const best = `${state.best?.evalLoss.toPrecision(5)} at step ${state.best?.step}`
  return `Training ends at step ${state.step}: ${options.patience} evaluations were not better than ${best}.`
}

function resultOf(session: Session, stopRequested: boolean): TrainResult {
  const { state, data, facts, seconds, tokens, output } = session
  notePeak(session)
  return {
    steps: state.step,
    loss: state.loss,
    evalLoss: state.evalLoss,
    trainableParameters: facts.trainable.parameters,
    tokensPerSecond: seconds > 0 ? tokens / seconds : 0,
    peakMemoryBytes: session.peakMemoryBytes,
    output: output?.path ?? null,
    stopped: stopRequested && state.step < data.totalSteps,
  }
}
