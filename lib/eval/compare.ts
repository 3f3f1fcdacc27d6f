/** Tasks that compare a model with the model before: `forgetting` by their losses, `change` by all their predictions. */

import { countTargets, exampleOf } from '../batches/examples/example.js'
import { packRows, passesOf } from '../batches/packing.js'
import { UsageError } from '../common/errors.js'
import type { ModelOutput, ModelView } from '../models/index.js'
import { damagedModel } from '../tensor/operations/sampling.js'
import { noGrad } from '../tensor/tape.js'
import type { TaskContext } from './context.js'
import { noTargets, type ScoredRow, scoredRows } from './rows.js'
import { float64Sum, rowsAtOnce, scorePass } from './score.js'

/**
 * Returns the model before: the base, or the model without adapters.
 * @throws UsageError `unfit-options` if there is none, or its vocabulary differs from the model's
 */
function modelBefore({ model, base, options }: TaskContext): ModelView {
  if (base === null) return withoutAdapters(model, options.task!)
  const [before, after] = [base.config.vocabularySize, model.config.vocabularySize]
  if (before !== after) {
    throw new UsageError(
      'unfit-options',
      `The base has a vocabulary of ${before} tokens and the model one of ${after}: their losses cannot be compared.`,
    )
  }
  return base.withAdapters()
}

function withoutAdapters(model: ModelView, task: string): ModelView {
  if (model.adapterSet.activeNames().length > 0) return model.withAdapters([])
  throw new UsageError(
    'unfit-options',
    `The task ${task} compares two models: load an adapter, or give the model before as base.`,
  )
}

/** Losses of both models, summed over rows. */
class LossesOfBoth {
  before = 0
  after = 0
  tokens = 0
  targets = 0

  /** Adds the losses of a row, summed over its targets, and returns its line of `--output`. */
  add({ mask, newTokens }: ScoredRow, before: number, after: number) {
    const targets = countTargets([{ mask }])
    this.before += before
    this.after += after
    this.tokens += newTokens
    this.targets += targets
    return { tokens: newTokens, targets, before: before / targets, after: after / targets }
  }

  /** @throws InputError `no-targets` */
  means({ data }: TaskContext) {
    const { before, after, tokens, targets } = this
    if (targets === 0) throw noTargets(data, 'there is nothing to compare')
    return {
      /** Mean negative natural log-probability of the targets, by the model before. */
      before: before / targets,
      /** Mean negative natural log-probability of the targets, by the model with its active adapters. */
      after: after / targets,
      /** Tokens read. */
      tokens,
      /** Tokens predicted. */
      targets,
    }
  }
}

/**
 * Measures how much worse a model has become at a text that it was not trained on: its mean loss less that of the model before.
 * Both read the same windows or rows as for `perplexity`, one pass after the other.
 */
export async function forgetting(context: TaskContext) {
  const { model, options, signal, done } = context
  const earlier = modelBefore(context)
  const losses = new LossesOfBoth()
  const mean = () => (losses.after - losses.before) / losses.targets
  for await (const pass of passesOf(scoredRows(context), rowsAtOnce(options))) {
    const after = await scorePass(model, pass, signal)
    const before = await scorePass(earlier, pass, signal)
    for (const [i, row] of pass.entries()) {
      const line = losses.add(row, -float64Sum(before[i]!.logprobs), -float64Sum(after[i]!.logprobs))
      await done(line, `forgetting ${mean().toFixed(4)}`)
    }
  }
  const means = losses.means(context)
  return {
    /** `after` less `before` [nats per target]: positive if the model has become worse at the text. */
    forgetting: mean(),
    /** The same number as `forgetting`. */
    change: mean(),
    ...means,
  }
}

/** Logits of each model that are compared at a time. */
const VALUES = 2 ** 22

/** The predictions of two models for one target. */
interface Comparison {
  /** Natural log-probabilities of the target. */
  before: number
  after: number
  /** KL divergence [nats] of the next token's distribution, of the model after from the model before. */
  divergence: number
  sameTop: boolean
}

/**
 * Measures how far a model's predictions are from the predictions of the model before. Both read the same windows or rows as for
 * `perplexity`, one pass after the other, and are compared token by token over the whole vocabulary, in float64.
 */
export async function change(context: TaskContext) {
  const { model, options, signal, done } = context
  const earlier = modelBefore(context)
  const losses = new LossesOfBoth()
  const sums = { absolute: 0, divergence: 0, sameTop: 0 }
  let most = 0
  for await (const pass of passesOf(scoredRows(context), rowsAtOnce(options))) {
    signal?.throwIfAborted()
    const batch = packRows(pass.map(exampleOf))
    using before = await earlier.forwardAsync(batch, { rows: 'targets', gradients: false })
    using after = await model.forwardAsync(batch, { rows: 'targets', gradients: false })
    const targets = batch.targets.filter((target) => target >= 0)
    const comparisons = compared(before, after, targets, model)
    for (const row of pass) {
      const own = { before: 0, after: 0, divergence: 0 }
      for (let left = countTargets([row]); left > 0; left--) {
        const { before, after, divergence, sameTop } = (await comparisons.next()).value as Comparison
        own.before -= before
        own.after -= after
        own.divergence += divergence
        sums.absolute += Math.abs(after - before)
        sums.sameTop += sameTop ? 1 : 0
        most = Math.max(most, Math.abs(after - before))
      }
      sums.divergence += own.divergence
      const line = losses.add(row, own.before, own.after)
      await done(
        { ...line, klDivergence: own.divergence / line.targets },
        `KL divergence ${(sums.divergence / losses.targets).toPrecision(3)}`,
      )
    }
  }
  const { tokens, targets, ...means } = losses.means(context)
  return {
    ...means,
    /** Mean of |log-probability of a target after − before|. */
    meanAbsoluteChange: sums.absolute / targets,
    /** The largest of these. */
    maxAbsoluteChange: most,
    /** Mean of Σ p ln(p / q) over the vocabulary [nats], with p of the model before and q of the model. */
    klDivergence: sums.divergence / targets,
    /** Share of the targets for which both models have the same likeliest token. */
    sameTopTokens: sums.sameTop / targets,
    tokens,
    targets,
  }
}

async function* compared(
  before: ModelOutput,
  after: ModelOutput,
  targets: Int32Array,
  { config: { vocabularySize } }: ModelView,
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

async function logitsOf(output: ModelOutput, from: number, to: number): Promise<Float32Array> {
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

/** Returns the largest logit's index, and the log of the sum of all exponentials. */
function normalised(logits: Float32Array): { top: number; logSum: number } {
  let top = 0
  for (const [i, logit] of logits.entries()) if (logit > logits[top]!) top = i
  const most = logits[top]!
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - most)
  return { top, logSum: most + Math.log(sum) }
}
