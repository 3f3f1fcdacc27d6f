import { RunError } from '../common/errors.js'
import type { StepEvent } from './events.js'
import { optimizerStep } from './optimizer-step.js'
import { rolloutsOfStep } from './rollouts.js'
import type { RunProgress, RunWork, Session } from './session.js'

/**
 * Takes the next optimizer step of a run. Throws a `RunError` that names the step, the layer and the last good checkpoint if
 * loss or gradients are not finite. Returns null if a rank's signal aborts the step, which then leaves no trace.
 */
export async function takeStep(session: Session): Promise<StepEvent | null> {
  const { options, work, rows, progress } = session
  const { model, passes, facts } = work
  const { state, counts } = progress
  const step = state.step + 1
  const learningRate = work.learningRate(state)
  progress.steppedAt = progress.now()
  notePeak(work, progress)
  model.device.resetPeak()
  const start = performance.now()
  const sampled = await rolloutsOfStep(session)
  const { seed, neftuneAlpha, maxGradNorm } = options
  passes.setDropout({ seed, step, neftuneAlpha })
  const own = sampled?.rows ?? (await rows.steps.rowsOfStep(state.step))
  const batches = rows.batchesOf(own, facts.machine.tokenBudget)
  const report = await optimizerStep(work, batches, { learningRate, maxGradNorm }, sampled).finally(() =>
    passes.setDropout(null),
  )
  if (!report) return null
  const { sums, gradNorm, nonFinite } = report
  const { loss, targetTokens, tokens, metrics } = sums
  if (nonFinite)
    throw nonFiniteStep(step, Number.isFinite(loss) ? { gradNorm } : { loss }, nonFinite.parameter, session)

  const seconds = (performance.now() - start) / 1000
  progress.state = {
    ...state,
    step,
    loss,
    tokens: state.tokens + tokens,
    targetTokens: state.targetTokens + targetTokens,
    place: rows.steps.place,
    generation: sampled?.generation ?? null,
  }
  const isRated = learningRate > 0
  progress.counts = {
    taken: counts.taken + 1,
    rated: counts.rated + Number(isRated),
    effective: counts.effective + Number(isRated && gradNorm > 0),
  }
  progress.seconds += seconds
  progress.tokens += tokens
  return {
    type: 'step',
    step,
    totalSteps: rows.steps.totalSteps,
    epoch: rows.steps.epochAfter(step),
    loss,
    gradNorm,
    learningRate,
    targetTokens,
    tokens,
    tokensPerSecond: tokens / seconds,
    memoryBytes: notePeak(work, progress),
    ...(metrics && { metrics }),
  }
}

/** Returns the peak memory since the last reset, in bytes, and notes it. */
export function notePeak({ model }: RunWork, progress: RunProgress): number {
  const { peak } = model.device.memory()
  progress.peakMemoryBytes = Math.max(progress.peakMemoryBytes, peak)
  return peak
}

function nonFiniteStep(
  step: number,
  { gradNorm, loss }: { gradNorm?: number; loss?: number },
  layer: string | null,
  { output: { lastCheckpoint } }: Session,
): RunError {
  const what = loss === undefined ? `the gradient norm is ${gradNorm}` : `the loss is ${loss}`
  const where = layer ? `, first in the gradient of ${layer}` : ''
  const checkpoint = lastCheckpoint
    ? `the last good checkpoint is ${lastCheckpoint.path}`
    : 'no checkpoint was written before it'
  // Before the first update, only the loaded model can be the cause.
  const advice =
    step === 1
      ? 'the weights of the model are damaged, or its numbers overflow its dtype'
      : 'a lower learning rate may help'
  return new RunError(
    'non-finite',
    `Training stopped at step ${step}: ${what}${where}; the update was not made and ${checkpoint}; ${advice}.`,
  )
}
