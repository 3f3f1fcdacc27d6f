import { RunError } from '../common/errors.js'
import type { StepEvent } from './events.js'
import { optimizerStep, type StepReport } from './optimizer-step.js'
import { DROPPED, rolloutsOfStep, type StepRollouts } from './rollouts.js'
import type { Session } from './session.js'

/**
 * Takes the next optimizer step of a run. Throws a `RunError` that names the step, the layer and the last good checkpoint if
 * loss or gradients are not finite. Returns null if a rank's signal aborts the step, which then leaves no trace.
 */
export async function takeStep(session: Session): Promise<StepEvent | null> {
  const { model, passes, options, data } = session
  const before = session.state
  const step = before.step + 1
  const learningRate = session.learningRate(before)
  session.steppedAt = session.now()
  notePeak(session)
  model.device.resetPeak()
  const start = performance.now()
  let sampled: StepRollouts | null
  try {
    sampled = await rolloutsOfStep(session)
  } catch (error) {
    if (error === DROPPED) return null
    throw error
  }
  const { seed, neftuneAlpha } = options
  passes.setDropout({ seed, step, neftuneAlpha })
  const rows = sampled?.rows ?? (await data.rowsOfStep(before.step))
  const batches = data.batchesOf(rows, session.facts.machine.tokenBudget)
  const { maxGradNorm } = options
  const report = await optimizerStep(session, batches, { learningRate, maxGradNorm }, sampled).finally(() =>
    passes.setDropout(null),
  )
  if (!report) return null
  if (report.nonFinite) throw nonFiniteStep(step, report, session)

  const seconds = (performance.now() - start) / 1000
  const { sums, gradNorm } = report
  const { loss, targetTokens, tokens, metrics } = sums
  session.state = {
    ...before,
    step,
    loss,
    tokens: before.tokens + tokens,
    targetTokens: before.targetTokens + targetTokens,
    place: data.place,
    generation: sampled?.generation ?? null,
  }
  session.seconds += seconds
  const { taken, rated, effective } = session.counts
  const isRated = learningRate > 0
  session.counts = {
    taken: taken + 1,
    rated: rated + Number(isRated),
    effective: effective + Number(isRated && gradNorm > 0),
  }
  session.tokens += tokens
  return {
    type: 'step',
    step,
    totalSteps: data.totalSteps,
    epoch: data.epochAfter(step),
    loss,
    gradNorm,
    learningRate,
    targetTokens,
    tokens,
    tokensPerSecond: tokens / seconds,
    memoryBytes: notePeak(session),
    ...(metrics && { metrics }),
  }
}

/** Returns the peak memory since the last reset, in bytes, and records it in the session. */
export function notePeak(session: Session): number {
  const { peak } = session.model.device.memory()
  session.peakMemoryBytes = Math.max(session.peakMemoryBytes, peak)
  return peak
}

function nonFiniteStep(step: number, report: StepReport, { lastCheckpoint }: Session): RunError {
  const { loss } = report.sums
  const what = Number.isFinite(loss) ? `the gradient norm is ${report.gradNorm}` : `the loss is ${loss}`
  const layer = report.nonFinite?.parameter
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
