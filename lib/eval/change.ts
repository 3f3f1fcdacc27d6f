import { InputError, UsageError } from '../common/errors.js'
import { countTargets } from '../data/encode.js'
import { packBatch } from '../data/packing.js'
import { namesOf } from '../data/sources/open.js'
import { damagedModel } from '../tensor/operations/sampling.js'
import { noGrad } from '../tensor/tape.js'
import { modelBefore } from './model-before.js'
import { partsOf } from './perplexity.js'
import { passesOf } from './score.js'
import type { ChangeResult, EvaluatedModel, LogitsOfTargets, TaskContext } from './task.js'

/** Logits of a model that are compared at a time. */
const VALUES = 2 ** 22

/** What two models say of one target. */
interface Comparison {
  /** Natural log-probabilities of the target. */
  before: number
  after: number
  /** KL divergence [nats] of what follows, of the model after from the model before. */
  divergence: number
  sameTop: boolean
}

/**
 * How far what a model predicts is from what the model before does: both read the same windows or rows, those of `perplexity`,
 * one pass after the other, and are compared token by token over the whole vocabulary, in float64.
 */
export async function change(context: TaskContext): Promise<ChangeResult> {
  const { model, options, data, signal, done } = context
  const earlier = modelBefore(context)
  const sums = { before: 0, after: 0, absolute: 0, divergence: 0, sameTop: 0, tokens: 0, targets: 0 }
  let most = 0
  for await (const pass of passesOf(partsOf(context), options.batchSize)) {
    signal?.throwIfAborted()
    const batch = packBatch(pass.map(({ ids, mask }, row) => ({ ids, mask, row })))
    const forward = (of: EvaluatedModel) => targetLogits(of, batch)
    using before = await earlier(forward)
    using after = await forward(model)
    const comparisons = compared(
      before,
      after,
      batch.targets.filter((target) => target >= 0),
      model,
    )
    for (const { mask, newTokens } of pass) {
      const own = { before: 0, after: 0, divergence: 0 }
      const targets = countTargets(mask)
      for (let i = 0; i < targets; i++) {
        const { before, after, divergence, sameTop } = (await comparisons.next()).value as Comparison
        own.before -= before
        own.after -= after
        own.divergence += divergence
        sums.absolute += Math.abs(after - before)
        sums.sameTop += sameTop ? 1 : 0
        most = Math.max(most, Math.abs(after - before))
      }
      sums.before += own.before
      sums.after += own.after
      sums.divergence += own.divergence
      sums.tokens += newTokens
      sums.targets += targets
      await done(
        {
          tokens: newTokens,
          targets,
          before: own.before / targets,
          after: own.after / targets,
          klDivergence: own.divergence / targets,
        },
        `KL divergence ${(sums.divergence / sums.targets).toPrecision(3)}`,
      )
    }
  }
  const { targets } = sums
  if (targets === 0) {
    throw new InputError('no-targets', `${namesOf(data)}: no token is predicted, so there is nothing to compare.`)
  }
  return {
    before: sums.before / targets,
    after: sums.after / targets,
    meanAbsoluteChange: sums.absolute / targets,
    maxAbsoluteChange: most,
    klDivergence: sums.divergence / targets,
    sameTopTokens: sums.sameTop / targets,
    tokens: sums.tokens,
    targets,
  }
}

function targetLogits(model: EvaluatedModel, batch: Parameters<EvaluatedModel['tokenLogProbs']>[0]) {
  if (model.forwardAsync) return model.forwardAsync(batch, { rows: 'targets', gradients: false })
  throw new UsageError('unfit-options', 'The task change needs models with forwardAsync, as loadModel gives them.')
}

async function* compared(
  before: LogitsOfTargets,
  after: LogitsOfTargets,
  targets: Int32Array,
  { config: { vocabularySize } }: EvaluatedModel,
): AsyncGenerator<Comparison> {
  const step = Math.max(1, Math.floor(VALUES / vocabularySize))
  for (let from = 0; from < targets.length; from += step) {
    const to = Math.min(from + step, targets.length)
    const [a, b] = [await logitsOf(before, from, to), await logitsOf(after, from, to)]
    for (let row = from; row < to; row++) {
      const [start, end] = [(row - from) * vocabularySize, (row - from + 1) * vocabularySize]
      const comparison = compareRow(a.subarray(start, end), b.subarray(start, end), targets[row]!)
      if (!Number.isFinite(comparison.divergence))
        throw damagedModel('KL divergence of what follows a token', comparison.divergence)
      yield comparison
    }
  }
}

async function logitsOf(output: LogitsOfTargets, from: number, to: number): Promise<Float32Array> {
  using logits = noGrad(() => output.logits(from, to))
  return (await logits.data()) as Float32Array
}

function compareRow(before: Float32Array, after: Float32Array, target: number): Comparison {
  const [p, q] = [normalised(before), normalised(after)]
  let divergence = 0
  for (const [i, logit] of before.entries()) {
    const logP = logit - p.logSum
    divergence += Math.exp(logP) * (logP - (after[i]! - q.logSum))
  }
  return {
    before: before[target]! - p.logSum,
    after: after[target]! - q.logSum,
    divergence,
    sameTop: p.top === q.top,
  }
}

/** The largest logit's index, and the log of the sum of all exponentials. */
function normalised(logits: Float32Array): { top: number; logSum: number } {
  let top = 0
  for (const [i, logit] of logits.entries()) if (logit > logits[top]!) top = i
  const most = logits[top]!
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - most)
  return { top, logSum: most + Math.log(sum) }
}
