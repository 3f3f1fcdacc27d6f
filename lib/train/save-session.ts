import { MoraError, RunError, reworded, UsageError } from '../common/errors.js'
import { foreignFailure } from '../common/foreign-errors.js'
import { theOption } from '../common/option-names.js'
import type { Batch } from '../data/batch.js'
import { syncAppended } from '../io/atomic.js'
import { keepCheckpoint, pruneCheckpoints, writeCheckpoint } from './checkpoints/checkpoint.js'
import { writeCheckpointAtOnce } from './checkpoints/checkpoint-at-once.js'
import { afterEvaluation } from './checkpoints/trainer-state.js'
import { evaluateBatches } from './evaluate.js'
import type { CheckpointEvent, EvaluationEvent } from './events.js'
import { modelCard } from './output/model-card.js'
import { PassSums } from './pass-sums.js'
import { sampledFor } from './rollouts.js'
import type { Session } from './session.js'

/** Measures the loss on the evaluation data; null if a rank's signal was aborted meanwhile. */
export async function evaluateSession(session: Session): Promise<EvaluationEvent | null> {
  const { data, objective } = session
  const sums = objective.sample ? await evaluateAnswers(session) : await evaluateBatches(session, batchesOf(session))
  if (!sums) return null
  const { loss: evalLoss, metrics } = sums
  if (!Number.isFinite(evalLoss)) throw nonFiniteEvaluation(evalLoss, session)
  session.state = afterEvaluation(session.state, evalLoss)
  const { step, best } = session.state
  const epoch = data.epochAfter(step)
  return { type: 'evaluation', step, epoch, evalLoss, best: best?.step === step, ...(metrics && { metrics }) }
}

function* batchesOf({ data, facts }: Session): Iterable<Batch> {
  for (const rows of data.evaluationSteps()) yield* data.batchesOf(rows, facts.machine.tokenBudget)
}

/** Has the evaluation data's prompts answered once each: the loss is minus the mean reward, or else that of the answers. */
async function evaluateAnswers(session: Session): Promise<Pick<PassSums, 'loss' | 'metrics'> | null> {
  const { data, objective, facts, sync, signal } = session
  const own = new PassSums(objective.metrics)
  const batches: Batch[] = []
  for (const rows of data.evaluationSteps()) {
    const sampled = await sampledFor(session, rows, { draws: 'evaluation', answers: 1 })
    own.addMetrics(sampled.metrics)
    batches.push(...data.batchesOf(sampled.rows, facts.machine.tokenBudget))
  }
  if (!objective.metrics.includes('reward')) return evaluateBatches(session, batches)
  const all = await sync.sum([...own.values], { drop: signal?.aborted ?? false })
  if (!all) return null
  const { metrics } = own.over(all)
  return { loss: -metrics!.reward!, metrics }
}

function nonFiniteEvaluation(evalLoss: number, { state, lastCheckpoint }: Session): RunError {
  const checkpoint = lastCheckpoint ? `the last good checkpoint is ${lastCheckpoint.path}` : 'no checkpoint was written'
  return new RunError(
    'non-finite',
    `Training stopped after step ${state.step}: the loss on the evaluation data is ${evalLoss}; ${checkpoint}.`,
  )
}

/**
 * Writes a checkpoint of the current step, unless there is one, and removes checkpoints that need not be kept. The next
 * checkpoint replaces one that is written `byTime`.
 */
export async function saveSession(session: Session, { byTime = false } = {}): Promise<CheckpointEvent> {
  const { output, options, state, lastCheckpoint, sync } = session
  if (!sync.isFirst) {
    throw new UsageError(
      'unfit-options',
      `Checkpoints are written by one rank, and not by rank ${sync.ranks.rank}: ask its run to save.`,
    )
  }
  if (!output) {
    throw new UsageError('missing-option', `A checkpoint needs a folder: give ${theOption('output')}.`)
  }
  if (lastCheckpoint?.step === state.step) {
    if (!byTime) await keepCheckpoint(lastCheckpoint.path)
    return { type: 'checkpoint', ...lastCheckpoint }
  }
  if (session.ended) {
    throw new RunError('ended', `The run has ended; its last checkpoint is ${lastCheckpoint?.path ?? 'none'}.`)
  }
  session.canBeSaved = false
  trimMemory(session)
  try {
    // Metrics must be on the disk before the checkpoint: a resumed run would not write them again.
    const events = session.tensorboard ? [session.tensorboard.path] : []
    await syncAppended([output.metrics, output.samples, output.rollouts, ...events, output.path])
    const { path, failure } = await writeCheckpoint(output.checkpoints, {
      parameters: session.parameters,
      optimizer: session.optimizer,
      state,
      facts: session.facts,
      saveAdapter: session.result.saveAdapter,
      byTime,
    })
    session.lastCheckpoint = { step: state.step, path }
    session.savedAt = session.now()
    await pruneCheckpoints(output.checkpoints, options, state)
    if (failure !== null) throw afterCheckpoint(failure, session)
    return { type: 'checkpoint', step: state.step, path }
  } finally {
    session.canBeSaved = true
  }
}

/**
 * Writes a temporary checkpoint of the last step, unless there is one, while the next step is being computed, for a process
 * that may be killed before that step ends. It is written when this returns, if values can be read at once.
 */
export function saveAtOnce(session: Session): void {
  const { output, state, lastCheckpoint, canBeSaved, ended } = session
  if (!output || ended || !canBeSaved || state.step === 0 || lastCheckpoint?.step === state.step) return
  writeCheckpointAtOnce(output.checkpoints, session)
}

/** Frees cached device memory, since saving copies values first: on a CPU the system can use it for that. */
function trimMemory({ model: { device } }: Session): void {
  if (device.kind === 'cpu') device.trim()
}

/**
 * Writes the trained adapter or model, how the run ended and the model card to the output folder. Its errors say where the
 * trained values are.
 */
export async function saveResult(session: Session, untrained: string | null): Promise<void> {
  const { output, result, facts, state, resultStep } = session
  if (!output) return
  trimMemory(session)
  try {
    await result.saveResult(output)
    const { step: steps, loss, evalLoss, best } = state
    await output.writeResult({
      steps,
      loss,
      ...(best && { evalLoss, bestStep: best.step, bestEvalLoss: best.evalLoss }),
      resultStep: resultStep ?? steps,
      ...(untrained && { problem: untrained }),
    })
    await output.writeModelCard(modelCard(facts, state, { isAdapter: result.saveAdapter !== null, resultStep }))
  } catch (error) {
    throw afterCheckpoint(error, session)
  }
}

/** Adds to an error where the trained values are, if they are on the disk already. */
function afterCheckpoint(error: unknown, { lastCheckpoint }: Session): unknown {
  if (!lastCheckpoint) return error
  const { step, path } = lastCheckpoint
  const { code, message } = foreignFailure(error)
  const told = error instanceof MoraError ? error : new RunError(code, message, { cause: error })
  const end = `step ${step} is saved in ${path}, from which the run continues once it is resumed`
  return reworded(told, (message) => `${message.replace(/\.$/, '')}; ${end}.`)
}
