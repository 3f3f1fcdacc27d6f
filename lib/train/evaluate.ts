import { z } from 'zod'
import { aBatch, type Batch } from '../batches/batch.js'
import { stepsOf } from '../batches/step-rows.js'
import { aSignal, check, having, optionsSchema } from '../common/arguments.js'
import { RunError } from '../common/errors.js'
import { generate } from '../generate/index.js'
import type { LoadedModel } from '../models/index.js'
import { sft } from '../objectives/cross-entropy.js'
import { runObjective } from '../objectives/objective.js'
import type { EvaluationEvent, SampleEvent } from './events.js'
import { appendSamples } from './output/metrics-file.js'
import { PassSums } from './pass-sums.js'
import { eachPass, withStepSums } from './passes.js'
import { RankSync } from './rank-sync.js'
import { sampledFor } from './rollouts.js'
import type { RunWork, Session } from './session.js'
import { afterEvaluation } from './trainer-state.js'

/** Maximum number of tokens of a sample. */
const SAMPLE_TOKENS = 64

const meanLossArguments = {
  model: having('a model', 'lossAsync', 'setDropout'),
  batches: z.union([having('batches', Symbol.iterator), having('a stream of them', Symbol.asyncIterator)]),
  options: optionsSchema('the options of meanLoss', { signal: aSignal.optional() }),
}

/**
 * Returns the mean loss over the target tokens of all batches. It keeps sums only: memory does not grow with the data. If
 * `signal` is aborted, it rejects before the next batch with the signal's reason.
 */
export async function meanLoss(
  model: LoadedModel,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
  options: { signal?: AbortSignal } = {},
): Promise<number> {
  check({ model, batches, options }, meanLossArguments)
  const { signal } = options
  const sums = await evaluateBatches(
    { objective: runObjective(sft()), passes: model, sync: new RankSync(), signal },
    batches,
  )
  if (!sums) throw signal!.reason
  return sums.loss
}

/**
 * Returns the sums of an objective over all batches of all ranks, from forward passes without dropout; null if a rank's signal
 * was aborted meanwhile.
 */
async function evaluateBatches(
  work: Pick<RunWork, 'objective' | 'passes' | 'sync' | 'signal'>,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
): Promise<PassSums | null> {
  const { objective, passes, sync } = work
  passes.setDropout(null)
  const own = new PassSums(objective.metrics)
  const gradients = false
  const step = await withStepSums(work, batches)
  if (!step) return null
  const { stepSums } = step
  const drop = await eachPass(work, step.batches, { gradients }, async (batch) => {
    check({ batch }, { batch: aBatch })
    const part = await objective.loss(passes, batch, { gradients, stepSums })
    try {
      own.add(part, await part.loss.item(), batch)
    } finally {
      part.loss.dispose()
    }
  })
  const all = await sync.sum([...own.values], { drop })
  if (!all) return null
  const sums = own.over(all)
  if (sums.weight === 0) {
    throw new RunError('no-targets', 'The evaluation data has no target token, so its mean loss is undefined.')
  }
  return sums
}

/** Measures the loss on the evaluation data; null if a rank's signal was aborted meanwhile. */
export async function evaluateSession(session: Session): Promise<EvaluationEvent | null> {
  const { work, rows, progress } = session
  const { objective, facts } = work
  const batches = async function* () {
    for await (const some of stepsOf(rows.evaluation!.steps)) yield* rows.batchesOf(some, facts.machine.tokenBudget)
  }
  const sums = objective.sample ? await evaluateAnswers(session) : await evaluateBatches(work, batches())
  if (!sums) return null
  const { loss: evalLoss, metrics } = sums
  if (!Number.isFinite(evalLoss)) throw nonFiniteEvaluation(evalLoss, session)
  progress.state = afterEvaluation(progress.state, evalLoss)
  const { step, best } = progress.state
  const epoch = rows.steps.epochAfter(step)
  return { type: 'evaluation', step, epoch, evalLoss, best: best?.step === step, ...(metrics && { metrics }) }
}

/** Samples answers to each prompt of the evaluation data, by default one. The loss is minus the mean reward; without rewards, the answers' loss. */
async function evaluateAnswers(session: Session): Promise<Pick<PassSums, 'loss' | 'metrics'> | null> {
  const { work, rows } = session
  const { objective, facts, sync, signal } = work
  const own = new PassSums(objective.metrics)
  const batches: Batch[] = []
  for await (const some of stepsOf(rows.evaluation!.steps)) {
    const sampled = await sampledFor(session, some, { draws: 'evaluation', answers: objective.evaluationAnswers })
    own.addMetrics(sampled.metrics)
    batches.push(...rows.batchesOf(sampled.rows, facts.machine.tokenBudget))
  }
  if (!objective.metrics.includes('reward')) return evaluateBatches(work, batches)
  const all = await sync.sum([...own.values], { drop: signal?.aborted ?? false })
  if (!all) return null
  const { metrics } = own.over(all)
  return { loss: -metrics!.reward!, metrics }
}

function nonFiniteEvaluation(evalLoss: number, { progress, output: { lastCheckpoint } }: Session): RunError {
  const checkpoint = lastCheckpoint ? `the last good checkpoint is ${lastCheckpoint.path}` : 'no checkpoint was written'
  return new RunError(
    'non-finite',
    `Training stopped after step ${progress.state.step}: the loss on the evaluation data is ${evalLoss}; ${checkpoint}.`,
  )
}

/** Generates an answer to every prompt of `samplePrompt`, greedily, and writes a line for each. */
export async function takeSamples({ options, work, output, progress }: Session): Promise<SampleEvent[]> {
  const { step } = progress.state
  const { template, samplePrompt = [] } = options
  const { model, signal } = work
  const events: SampleEvent[] = []
  for (const prompt of samplePrompt) {
    const { text } = await generate(model, { prompt, template, maxNewTokens: SAMPLE_TOKENS, signal })
    events.push({ type: 'sample', step, prompt, text })
  }
  if (output.folder) await appendSamples(output.folder.samples, events)
  progress.state = { ...progress.state, sampledAt: step }
  return events
}
