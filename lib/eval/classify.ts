/** The tasks of models with a head: the accuracy of a classifier, and of a reward model on pairs of answers. */

import { labelledDocuments } from '../batches/examples/example.js'
import { UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { malformedRow } from '../rows/check.js'
import type { RowReading } from '../rows/reading.js'
import { average } from '../tasks/measures.js'
import type { TaskContext } from './context.js'
import { examplesOf, taskRecords } from './rows.js'
import { rowsAtOnce } from './score.js'
import { requireLabels, scoredLast } from './scores.js'

/** A row's label and the model's prediction; labels are numbers. */
interface Judged {
  readonly label: number
  readonly predicted: number
  /** The probability of each label. */
  readonly probabilities: readonly number[]
}

/** Measures a classifier on rows with labels. @throws UsageError `no-head` */
export async function classification(context: TaskContext) {
  const { model, options, done, signal } = context
  const labels = requireLabels(model)
  const reading = context.reading.ofKind('labelled', labels)
  const how = { batchSize: rowsAtOnce(options), ...(signal && { signal }) }
  const judged: Judged[] = []
  for await (const { row, scores } of scoredLast(model, documents(context, reading), how)) {
    const probabilities = softmaxOf(scores)
    const predicted = scores.indexOf(Math.max(...scores))
    const one = { label: row.label ?? 0, predicted, probabilities }
    judged.push(one)
    const line = {
      label: labels[one.label],
      predicted: labels[predicted],
      scores,
      score: Number(predicted === one.label),
    }
    await done(line, `accuracy ${accuracyOf(judged).toFixed(3)}`)
  }
  const places = labels.map((_, label) => label)
  const f1 = places.map((label) => f1Of(judged, label))
  return {
    /** Share of right rows, a fraction. */
    accuracy: accuracyOf(judged),
    /** Mean of the F1 of the labels that rows have or are taken for. */
    macroF1: average(f1.filter((value) => value !== null)),
    /** F1 of each of these labels. */
    f1: Object.fromEntries(labels.flatMap((name, label) => (f1[label] === null ? [] : [[name, f1[label]!]]))),
    /**
     * Area under the ROC curve: with two labels, of the second; else the mean over labels of each against the rest; null if all
     * rows have one label.
     */
    auc: aucOf(judged, labels.length),
    /** Number of rows. */
    rows: judged.length,
  }
}

/** Measures a reward model on pairs of answers. @throws UsageError `no-head` */
export async function preferences(context: TaskContext) {
  const { model, options, done, signal } = context
  const labels = requireLabels(model)
  if (labels.length > 1) {
    throw new UsageError(
      'no-head',
      `The task reward needs a reward model, whose head has one score, but this is a classifier of ${labels.length} labels; measure it with the task classify.`,
    )
  }
  const answers = documents(context, context.reading.ofKind('pairs'))
  const how = { batchSize: 2 * rowsAtOnce(options), ...(signal && { signal }) }
  const margins: number[] = []
  let chosen: number | null = null
  for await (const { scores } of scoredLast(model, answers, how)) {
    if (chosen === null) {
      chosen = scores[0]!
      continue
    }
    const margin = chosen - scores[0]!
    margins.push(margin)
    await done({ chosen, rejected: scores[0], score: Number(margin > 0) }, `accuracy ${shareAbove(margins).toFixed(3)}`)
    chosen = null
  }
  return {
    /** Share of pairs whose chosen answer has the higher score, a fraction. */
    accuracy: shareAbove(margins),
    /** Mean of the chosen answer's score less the rejected one's. */
    margin: average(margins),
    /** Number of pairs. */
    rows: margins.length,
  }
}

const shareAbove = (margins: readonly number[]): number => average(margins.map((margin) => Number(margin > 0)))

/** Yields the documents of a task's data. */
async function* documents(context: TaskContext, reading: RowReading) {
  const { data, options, signal } = context
  for await (const record of taskRecords(data, { limit: options.limit, signal })) {
    const rows = await examplesOf(reading.wanted(record), record.where, context)
    if (rows.length === 0)
      throw malformedRow(record.where, `nothing of an answer is left within ${optionName('maxLength')}`)
    yield* rows.flatMap(labelledDocuments)
  }
}

const accuracyOf = (judged: readonly Judged[]): number =>
  average(judged.map(({ label, predicted }) => Number(label === predicted)))

/** The F1 of a label, 2 · right / (its rows + rows predicted as it); null if there are neither. */
function f1Of(judged: readonly Judged[], label: number): number | null {
  const rows = judged.filter((row) => row.label === label).length
  const taken = judged.filter((row) => row.predicted === label)
  const right = taken.filter((row) => row.label === label).length
  return rows + taken.length === 0 ? null : (2 * right) / (rows + taken.length)
}

/**
 * Returns the area under the ROC curve: with two labels, of the second; else the mean over labels of each against the rest; null
 * if no label has rows of both kinds.
 */
function aucOf(judged: readonly Judged[], labels: number): number | null {
  const of = (label: number) =>
    areaUnderRoc(judged.map((row) => ({ value: row.probabilities[label]!, isPositive: row.label === label })))
  const areas = (labels === 2 ? [of(1)] : Array.from({ length: labels }, (_, label) => of(label))).filter(
    (area) => area !== null,
  )
  return areas.length === 0 ? null : average(areas)
}

/** The share of pairs of a positive and a negative in which the positive has the larger value; equal ones count half. */
function areaUnderRoc(all: readonly { value: number; isPositive: boolean }[]): number | null {
  const positives = all.filter(({ isPositive }) => isPositive).length
  const negatives = all.length - positives
  if (positives === 0 || negatives === 0) return null
  const ranks = ranksOf(all.map(({ value }) => value))
  const sum = ranks.reduce((total, rank, i) => total + (all[i]!.isPositive ? rank : 0), 0)
  return (sum - (positives * (positives + 1)) / 2) / (positives * negatives)
}

/** Ranks from 1; equal values share the mean of theirs. */
export function ranksOf(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!)
  const ranks = new Array<number>(values.length)
  for (let from = 0; from < order.length; ) {
    let to = from
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++
    for (let i = from; i < to; i++) ranks[order[i]!] = (from + to + 1) / 2
    from = to
  }
  return ranks
}

function softmaxOf(scores: readonly number[]): number[] {
  const most = Math.max(...scores)
  const powers = scores.map((score) => Math.exp(score - most))
  const total = powers.reduce((sum, power) => sum + power, 0)
  return powers.map((power) => power / total)
}
