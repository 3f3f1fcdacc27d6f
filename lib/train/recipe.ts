import { RunError, reworded } from '../common/errors.js'
import type { TokeniseProgress } from '../data/tokenise.js'
import type { TrainingHold } from '../models/adaptation/training-hold.js'
import { endsWithBest } from '../options/index.js'
import type { Ranks } from '../tensor/ranks.js'
import { bestOf, noteBest, restoreBest } from './best.js'
import { isByTime } from './checkpoints/checkpoint.js'
import type { EvaluationEvent, NoticeEvent, SampleEvent, StepEvent, TrainResult } from './events.js'
import { dropFailures } from './failures.js'
import { setHeadRate } from './learning-rate.js'
import { Metrics } from './output/metrics.js'
import { RankSync } from './rank-sync.js'
import { restartAdapter, restartIsDue } from './restarts.js'
import type { RunControl } from './run.js'
import { samplesAreDue, takeSamples } from './samples.js'
import { evaluateSession, saveAtOnce, saveResult, saveSession } from './save-session.js'
import type { Session } from './session.js'
import { stoppedEarly } from './stopped-early.js'
import { notePeak, takeStep } from './take-step.js'
import { STEPS_TO_JUDGE, whatIsUntrained, zeroRateNotice } from './untrained.js'

/** The parts that a run consists of. */
export interface RunParts {
  readonly hold: TrainingHold
  /** By default a single process. */
  readonly ranks?: Ranks
  /** Called with a function that saves the last step synchronously, while the next is being computed. */
  readonly onBegun?: (saveAtOnce: () => void) => void
  /** @param reading ends reading rows before the first step */
  setUp(sync: RankSync, onTokenised: (progress: TokeniseProgress) => void, reading: AbortSignal): Promise<Session>
}

/**
 * Runs training from beginning to end: set up, train, save. An aborted signal ends it as `stop` does, with everything saved,
 * and then it rejects with the signal's reason. Every piece of work is exclusive; events are sent in between, when the reader
 * of the run may save, pause or use the model. All ranks end together, even if one of them fails.
 */
export async function runTraining(
  control: RunControl,
  { hold, ranks, setUp, onBegun }: RunParts,
): Promise<TrainResult> {
  const sync = new RankSync(ranks, () => control.stopRequested)
  const progress = rowProgress(control, sync)
  const begin = async () => {
    const session = await hold.change(() => setUp(sync, progress.report, progress.reading))
    const metrics = new Metrics(session, control.logged)
    control.onSave(async () => {
      await metrics.write()
      return (await saveSession(session)).path
    })
    onBegun?.(() => saveAtOnce(session))
    return { session, metrics }
  }
  const { session, metrics } = await sync.together(() => control.exclusive(begin))
  control.begun()
  try {
    const work = async () => {
      await progress.end()
      return takeTurns(session, control, hold, metrics)
    }
    const { result, isDropped } = await sync.together(
      () => trainSession(session, control, metrics, work),
      (error) => control.exclusive(() => savedAfter(error, session)),
    )
    if (isDropped || result.stopped) session.signal?.throwIfAborted()
    return result
  } finally {
    session.ended = true
    session.optimizer.dispose()
    setHeadRate(session.parameters, 1)
    session.data.close()
    session.output?.close()
  }
}

/** Fewer rows are read too fast to be worth an event. */
const FEW_ROWS = 256

/** Reports rows as they are read, one event at a time: the set-up, which reads them, does not wait for the reader of events. */
function rowProgress(control: RunControl, { isFirst, ranks }: RankSync) {
  let isFree = isFirst
  let hasBegun = false
  let sent = Promise.resolve()
  const reading = new AbortController()
  return {
    reading: reading.signal,
    report(figures: TokeniseProgress): void {
      if (figures.rows < FEW_ROWS) return
      // Several ranks end together.
      if (control.stopRequested && !hasBegun && ranks.size === 1) reading.abort(stoppedEarly())
      if (!isFree) return
      isFree = false
      sent = control.emit({ type: 'progress', ...figures })
      sent.then(
        () => {
          isFree = true
        },
        () => {}, // thrown by `end`
      )
    },
    /** Reports no more, and resolves when the last event is handled. */
    async end(): Promise<void> {
      hasBegun = true
      await sent
      isFree = false
    },
  }
}

/** The end of training; `isDropped` if the computation at the end was discarded. */
interface Trained {
  readonly result: TrainResult
  readonly isDropped: boolean
}

async function trainSession(
  session: Session,
  control: RunControl,
  metrics: Metrics,
  turns: () => Promise<boolean>,
): Promise<Trained> {
  const { sync, signal } = session
  const isDropped = await turns().catch(async (error: unknown) => {
    if (!signal?.aborted || error !== signal.reason) throw error
    await sync.agree({ drop: true })
    return true
  })
  if (sync.isFirst) for (const message of session.data.notes()) await control.emit({ type: 'notice', message })
  if (session.output && !hasLastingCheckpoint(session)) {
    await control.emit(await control.exclusive(() => saveSession(session)))
  }
  const untrained = await control.exclusive(() => whatIsUntrained(session))
  for (const message of [untrained, zeroRateNotice(session)])
    if (message && message !== session.untrained && sync.isFirst) await control.emit({ type: 'notice', message })
  const restored = await control.exclusive(() => restoreBest(session))
  if (restored && sync.isFirst) await control.emit({ type: 'notice', message: restored })
  await control.exclusive(() => saveResult(session, untrained))
  await metrics.end(session.state.step)
  for (const event of metrics.takeEvents()) await control.emit(event)
  // No rank ends before everything is on the disk.
  const { stop } = await sync.agree()
  const result = resultOf(session, stop)
  // A run that was stopped may still train something.
  if (untrained && !result.stopped) throw new RunError('untrained', afterTraining(untrained, session))
  return { result, isDropped }
}

function afterTraining(untrained: string, { output }: Session): string {
  return output ? `${untrained.replace(/\.$/, '')}; what the run did is in ${output.path}.` : untrained
}

/** Saves the steps before another rank's failure, and returns the failure with the place where they are. */
async function savedAfter(error: unknown, session: Session): Promise<unknown> {
  await dropFailures(session.model.device)
  if (!session.output || session.state.step === 0) return error
  const { step, path } = await saveSession(session, { byTime: true })
  return reworded(error, (message) => `${message.replace(/\.$/, '')}; step ${step} is saved in ${path}.`)
}

/**
 * Takes steps until the run ends. Each round first does what is due after the steps so far (an evaluation, samples, a
 * checkpoint, a restart of the adapter) and then takes the next step, so a run that is resumed at any point continues as if it
 * had never ended. In every round ranks agree whether to stop, save or wait. Returns whether a rank discarded its computation.
 */
async function takeTurns(
  session: Session,
  control: RunControl,
  hold: TrainingHold,
  metrics: Metrics,
): Promise<boolean> {
  const { sync } = session
  /** Does work, reports its event and writes its metrics; returns null if the work was discarded. */
  const measured = async <Event extends StepEvent | EvaluationEvent>(work: () => Promise<Event | null>) => {
    const event = await control.exclusive(async () => {
      const event = await work()
      return event && metrics.hold(event)
    })
    if (!event) return null
    try {
      await control.emit(event)
    } finally {
      await control.exclusive(() => metrics.write())
    }
    session.canBeSaved = true
    for (const logged of metrics.takeEvents()) await control.emit(logged)
    return event
  }
  const report = async (event: NoticeEvent | SampleEvent) => {
    if (sync.isFirst) await control.emit(event)
  }
  for (const message of session.notices) await report({ type: 'notice', message })
  let isIdleTold = false
  let isErrorTold = false
  for (;;) {
    const ended = await control.unlessStopped(session.data.prepare(session.state.step))
    if (ended) await report({ type: 'notice', message: ended })
    if (evaluationIsDue(session)) {
      if ((await sync.agree()).stop) return false
      if (!(await measured(() => evaluateSession(session)))) return true
      await control.exclusive(() => noteBest(session))
    }
    if (samplesAreDue(session) && !control.stopRequested) {
      for (const sample of await control.exclusive(() => takeSamples(session))) await report(sample)
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
    if (patienceIsOver(session)) {
      await report({ type: 'notice', message: patienceNotice(session) })
      return false
    }
    if (session.state.step >= session.data.totalSteps) return false
    if (wait) {
      await control.whilePaused()
      await sync.agree()
      continue
    }
    if (restartIsDue(session)) {
      await control.emit(await control.exclusive(() => hold.change(() => restartAdapter(session))))
      continue
    }
    const { effective } = session.counts
    const taken = await measured(() => takeStep(session))
    if (!taken) return true
    if (session.toolError !== null && !isErrorTold) {
      isErrorTold = true
      await report({ type: 'notice', message: toolNotice(session.toolError) })
    }
    const isToJudge = effective < STEPS_TO_JUDGE && session.counts.effective === STEPS_TO_JUDGE && !session.restarts
    const early = isToJudge && (await control.exclusive(() => whatIsUntrained(session)))
    if (early) {
      session.untrained = early
      await report({ type: 'notice', message: early })
    }
    if (session.objective.sample && taken.gradNorm === 0 && !isIdleTold) {
      isIdleTold = true
      await report({ type: 'notice', message: idleNotice(taken) })
    }
  }
}

const toolNotice = (error: string): string =>
  `A tool that the model called failed (toolErrors in metrics.jsonl): ${error}. Later failures are reported to the model alone.`

const idleNotice = ({ step }: StepEvent): string =>
  `Step ${step} had no gradient: the rewards within each group were equal (zeroStd in metrics.jsonl). Later steps may be affected too.`

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
  // Without keepBest, only the last of these stays.
  if (!isSaved && endsWithBest(options) && state.best?.step === state.step) return { byTime: true }
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
    best: bestOf(session),
    trainableParameters: facts.trainable.parameters,
    tokensPerSecond: seconds > 0 ? tokens / seconds : 0,
    peakMemoryBytes: session.peakMemoryBytes,
    sources: data.reports,
    output: output?.path ?? null,
    stopped: stopRequested && state.step < data.totalSteps,
  }
}
