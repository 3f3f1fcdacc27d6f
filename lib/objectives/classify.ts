import { z } from 'zod'
import { documentWeights, totalWeight } from '../batches/batch.js'
import { type Dataset, loadDataset } from '../batches/dataset.js'
import { quoted, UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { names, numbersByName, real } from '../schema/option.js'
import type { LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { add, mul } from '../tensor/operations/arithmetic.js'
import { logSoftmax, mean, sum } from '../tensor/operations/reductions.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { weightedCrossEntropies } from './formulas.js'
import { type BuiltInObjective, lastScores, type Objective, TWO_TOKENS } from './objective.js'
import { headLearningRate } from './reward.js'
import { accuracyOf } from './weighted-sum.js'

export const ClassifySchema = z.strictObject({
  labels: names('names of the labels, in order; a number in the data is a place in them', {
    defaultText: "the model's, else the labels in the data, sorted",
  }),
  classWeights: numbersByName(
    "weights of the labels' rows: balanced gives all labels the same sum; a label that is not named has 1",
    'balanced',
    { defaultText: '1 each' },
  ),
  labelSmoothing: real("share of a label's probability that all labels get in equal parts", 0, { min: 0, max: 1 }),
  headLearningRate,
})

/** Options of classification. */
export type ClassifyOptions = LibraryInput<typeof ClassifySchema>

/**
 * Classification: a head of one score for each label at the last token of a text is trained with the adapter, by the mean
 * cross-entropy of the rows' labels. Labels are texts or whole numbers; their names are `labels`, else the names of the model's head,
 * else the names in the data, sorted. `classWeights` multiply the weights of rows by their labels' weights. With `labelSmoothing` ε, the loss of a
 * row is (1 − ε) · cross-entropy + ε · mean of −ln p over the labels (arXiv 1512.00567, section 7).
 *
 * ```ts
 * import { classify, loadModel, train } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const data = [{ text: 'What a fine day', label: 'good' }, { text: 'It broke at once', label: 'bad' }]
 * await train(model, { objective: classify(), data, maxSteps: 2 }).finished
 * console.log(model.labels) // ['bad', 'good']
 * ```
 *
 * @throws UsageError for an option of the wrong type or range
 */
export function classify(options: ClassifyOptions = {}): Objective {
  const { classWeights, labelSmoothing: epsilon, ...settings } = parseOptions(ClassifySchema, options)
  let { labels } = settings
  let ofLabels: readonly number[] | undefined
  return {
    name: 'classify',
    options: plainOptions(options),
    rows: 'labelled',
    metrics: ['accuracy'],
    smallRow: [TWO_TOKENS],
    labels: () => labels ?? [],
    // A model that has a head keeps its labels.
    prepare: ({ model }) =>
      classify({ ...options, labels: options.labels ?? (model.labels ? [...model.labels] : undefined) }),
    async load(source, how) {
      const data = await loadDataset([...source], { ...how, labels, keepWithoutTarget: true })
      labels ??= [...data.labels!]
      requireSeveral(labels)
      // The weights of the training rows, which are read first.
      if (classWeights) ofLabels ??= weightsOfLabels(classWeights, labels, data)
      return data
    },
    async loss(model, batch, { gradients }) {
      using scores = await lastScores(model, batch, gradients)
      const targets = Int32Array.from({ length: batch.rows }, (_, row) => batch.labels?.[row] ?? 0)
      const ofRows = documentWeights(batch, targets.keys())
      const weights = ofLabels
        ? Float32Array.from(targets, (label, i) => ofLabels![label]! * (ofRows?.[i] ?? 1))
        : ofRows
      const loss = scope(() => {
        const ofTargets = weightedCrossEntropies(scores, targets, weights)
        if (epsilon === 0) return ofTargets
        const { device } = scores
        const factors = Float32Array.from(targets, (_, i) => -epsilon * (weights?.[i] ?? 1))
        const ofAll = mul(mean(logSoftmax(scores), -1), Tensor.from(factors, [factors.length], { device }))
        return add(mul(ofTargets, 1 - epsilon), sum(ofAll))
      })
      const weight = totalWeight(weights, targets.length)
      return { loss, weight, metrics: { accuracy: await accuracyOf(scores, targets) } }
    },
  }
}

export const classifyObjective = {
  name: 'classify',
  help: 'trains a head that predicts the label of a text',
  schema: ClassifySchema,
  rows: 'labelled',
  make: classify,
} as const satisfies BuiltInObjective

/**
 * Returns the weight of each label. `balanced` is n / (k n_l): n rows, n_l of them with the label l, and k labels among the rows.
 * @throws UsageError for the weight of a label that is none
 */
function weightsOfLabels(
  given: NonNullable<ClassifyOptions['classWeights']>,
  labels: readonly string[],
  rows: Pick<Dataset, 'length' | 'row'>,
): number[] {
  if (typeof given !== 'string') {
    const odd = Object.keys(given).find((name) => !labels.includes(name))
    if (odd === undefined) return labels.map((name) => given[name] ?? 1)
    throw new UsageError(
      'bad-value',
      `Expected names of labels (${labels.join(', ')}) for ${optionName('classWeights')} but received ${quoted(odd)}.`,
    )
  }
  const sums = labels.map(() => 0)
  for (let row = 0; row < rows.length; row++) {
    const { label = 0, weight = 1 } = rows.row(row)
    sums[label]! += weight
  }
  const total = sums.reduce((sum, own) => sum + own, 0)
  const present = sums.filter((sum) => sum > 0).length
  return sums.map((sum) => (sum === 0 ? 1 : total / (present * sum)))
}

function requireSeveral(labels: readonly string[]): void {
  if (labels.length > 1) return
  throw new UsageError(
    'one-label',
    `All rows have the label ${labels[0]}, so there is nothing to tell apart: give rows of two labels or more.`,
  )
}
