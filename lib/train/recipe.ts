import { RunError, reworded } from '../common/errors.js'
import type { Model } from '../models/model.js'
import type { NativeDevice } from '../native/addon.js'
import type { TrainSettings } from '../options/index.js'
import { bestOf, noteBest, restoreBest } from './best.js'
import {
  dueCheckpoint,
  evaluationIsDue,
  hasLastingCheckpoint,
  patienceIsOver,
  restartIsDue,
  samplesAreDue,
} from './due.js'
import { evaluateSession, takeSamples } from './evaluate.js'
import type { EvaluationEvent, StepEvent, TrainResult } from './events.js'
import { setHeadRate } from './learning-rate.js'
import { RankSync } from './rank-sync.js'
import { idleNotice, type Notice, noticesOf, rowProgress, toolNotice } from './reports.js'
import { restartAdapter } from './restarts.js'
import { DROPPED } from './rollouts.js'
import type { RunControl } from './run.js'
import { saveAtOnce, saveResult, saveSession } from './save-session.js'
import type { Session } from './session.js'
import type { RunParts } from './setup/plan-run.js'
import { setUp } from './setup/set-up.js'
import { notePeak, takeStep } from './take-step.js'
import { STEPS_TO_JUDGE, untrainedReason, zeroRateNotice } from './untrained.js'

type Reservation = ReturnType<Model['holdForTraining']>

/**
 * Runs training from beginning to end: set up, take steps, finish. An aborted signal ends it as `stop` does, with everything saved,
 * and then it rejects with the signal's reason. Every piece of work is exclusive; events are sent in between, when the reader
 * of the run may save, pause or use the model. All ranks end together, even if one of them fails.
 */
export async function runTraining(
  control: RunControl,
  { hold, ranks, onBegun, ...parts }: RunParts & Reservation & { model: Model; options: TrainSettings },
): Promise<TrainResult> {
  const sync = new RankSync(ranks, () => control.stopRequested)
  const { reading, report: onTokenised, end: endReading } = rowProgress(control, sync)
  const notices: string[] = []
  const begin = async () => {
    const note = (message: string) => void notices.push(message)
    const session = await hold.change(() =>
      setUp({ ...parts, sync, logged: control.logged, notice: note, onTokenised, reading }),
    )
    control.onSave(async () => {
      await session.output.metrics.write()
      return (await saveSession(session)).path
    })
    onBegun?.(() => saveAtOnce(session))
    return session
  }
  const session = await sync.together(() => control.exclusive(begin))
  control.begun()
  const notice = noticesOf(control, sync)
  const steps = async () => {
    await endReading()
    for (const message of notices) await notice(message)
    return takeSteps(session, control, hold, notice)
  }
  const train = async () => {
    const isDropped = await steps().catch(async (error: unknown) => {
      if (!session.work.signal?.aborted || error !== session.work.signal.reason) throw error
      await sync.agree({ drop: true })
      return true
    })
    return { isDropped, result: await finish(session, control, notice) }
  }
  try {
    const { isDropped, result } = await sync.together(train, (error) =>
      control.exclusive(() => savedAfter(error, session)),
    )
    if (isDropped || result.stopped) session.work.signal?.throwIfAborted()
    return result
  } finally {
    release(session)
  }
}

/**
 * Takes steps until the run ends. Each round first does what is due after the steps so far (an evaluation, samples, a
 * checkpoint, a restart of the adapter) and then takes the next step, so a run that is resumed at any point continues as if it
 * had never ended. In every round ranks agree whether to stop, save or wait. Returns whether a rank discarded its computation.
 */
async function takeSteps(
  session: Session,
  control: RunControl,
  hold: Reservation['hold'],
  notice: Notice,
): Promise<boolean> {
  const { work, rows, progress } = session
  const { sync } = work
  for (;;) {
    const ended = await control.unlessStopped(rows.steps.prepare(progress.state.step))
    await notice(ended)
    if (evaluationIsDue(session)) {
      if ((await sync.agree()).stop) return false
      if (!(await measured(session, control, () => evaluateSession(session)))) return true
      await control.exclusive(() => noteBest(session))
    }
    if (samplesAreDue(session) && !control.stopRequested) {
      for (const sample of await control.exclusive(() => takeSamples(session))) await control.emit(sample)
    }
    const due = dueCheckpoint(session)
    const { stop, save, wait } = await sync.agree({ save: due !== null, wait: control.isPaused })
    if (stop) return false
    if (save) {
      if (due) await control.emit(await control.exclusive(() => saveSession(session, due)))
      // A rank that waits here may ask for something else by the next round.
      await sync.agree()
      continue
    }
    const impatient = patienceIsOver(session)
    await notice(impatient)
    if (impatient || progress.state.step >= rows.steps.totalSteps) return false
    if (wait) {
      await control.whilePaused()
      await sync.agree()
      continue
    }
    if (restartIsDue(session)) {
      await control.emit(await control.exclusive(() => hold.change(() => restartAdapter(session))))
      continue
    }
    const { effective } = progress.counts
    // The rows of the step, their passes, the sums over all ranks, and the update.
    const step = await measured(session, control, () => takeStep(session))
    if (!step) return true
    if (progress.toolError !== null) await notice(toolNotice(progress.toolError), 'tool')
    if (work.objective.sample && step.gradNorm === 0) await notice(idleNotice(step), 'idle')
    const isToJudge = effective < STEPS_TO_JUDGE && progress.counts.effective === STEPS_TO_JUDGE && !work.restarts
    if (isToJudge) await notice(await control.exclusive(() => untrainedReason(session)))
  }
}

/** Saves the last step and the result. */
async function finish(session: Session, control: RunControl, notice: Notice): Promise<TrainResult> {
  const { work, rows, output, progress } = session
  const { metrics, folder } = output
  for (const message of rows.notes()) await notice(message)
  if (folder && !hasLastingCheckpoint(session)) {
    await control.emit(await control.exclusive(() => saveSession(session)))
  }
  const untrained = await control.exclusive(() => untrainedReason(session))
  for (const message of [untrained, zeroRateNotice(session)]) await notice(message)
  await notice(await control.exclusive(() => restoreBest(session)))
  await control.exclusive(() => saveResult(session, untrained))
  await metrics.end(progress.state.step)
  for (const event of metrics.takeEvents()) await control.emit(event)
  // No rank ends before everything is on the disk.
  const { stop } = await work.sync.agree()
  const result = resultOf(session, stop)
  // A run that was stopped may still train something.
  if (untrained && !result.stopped) {
    const where = folder ? `${untrained.replace(/\.$/, '')}; what the run did is in ${folder.path}.` : untrained
    throw new RunError('untrained', where)
  }
  return result
}

/** Does work, reports its event and writes its metrics; returns null if the work was discarded. */
async function measured<Event extends StepEvent | EvaluationEvent>(
  { work, output: { metrics } }: Session,
  control: RunControl,
  compute: () => Promise<Event | null>,
): Promise<Event | null> {
  const event = await control.exclusive(async () => {
    const event = await compute().catch((error: unknown) => {
      if (error === DROPPED) return null
      throw error
    })
    return event && metrics.prepare(event)
  })
  if (!event) return null
  try {
    await control.emit(event)
  } finally {
    await control.exclusive(() => metrics.write())
  }
  work.canBeSaved = true
  for (const logged of metrics.takeEvents()) await control.emit(logged)
  return event
}

function resultOf({ work, rows, output, progress }: Session, stopRequested: boolean): TrainResult {
  notePeak(work, progress)
  const { state, seconds, tokens, peakMemoryBytes } = progress
  return {
    steps: state.step,
    loss: state.loss,
    evalLoss: state.evalLoss,
    best: bestOf(output, state),
    trainableParameters: work.facts.trainable.parameters,
    tokensPerSecond: seconds > 0 ? tokens / seconds : 0,
    peakMemoryBytes,
    sources: rows.reports(),
    output: output.folder?.path ?? null,
    stopped: stopRequested && state.step < rows.steps.totalSteps,
  }
}

/** Saves the steps before another rank's failure, and returns the failure with the place where they are. */
async function savedAfter(error: unknown, session: Session): Promise<unknown> {
  const { work, output, progress } = session
  await dropFailures(work.model.device)
  if (!output.folder || progress.state.step === 0) return error
  const { step, path } = await saveSession(session, { byTime: true })
  return reworded(error, (message) => `${message.replace(/\.$/, '')}; step ${step} is saved in ${path}.`)
}

function release({ work, rows, output, progress }: Session): void {
  progress.hasEnded = true
  work.optimizer.dispose()
  setHeadRate(work.parameters, 1)
  for (const teacher of work.teachers) teacher.dispose()
  rows.steps.close()
  output.folder?.close()
}

/**
 * Waits for the work that a failed run has enqueued, and drops its error, which would otherwise reach the next caller that waits
 * for the device.
 */
export async function dropFailures(device: NativeDevice): Promise<void> {
  try {
    await device.synchronize()
  } catch {
    // The run ends with its first error.
  }
}
