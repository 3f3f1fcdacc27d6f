import { UsageError } from '../common/errors.js'
import { documentWeights, totalWeight } from '../data/batch.js'
import { loadDataset } from '../data/dataset.js'
import { scope } from '../tensor/scope.js'
import { weightedCrossEntropies } from './formulas.js'
import { type BuiltInObjective, lastScores, type Objective, TWO_TOKENS } from './objective.js'
import { checkedOptions, type ObjectiveInput, optionsOf } from './objective-options.js'
import { accuracyOf } from './weighted-sum.js'

/** Options of classification. */
export interface ClassifyOptions extends Pick<ObjectiveInput, 'labels'> {}

/**
 * Classification: a head of one score for each label at the last token of a text is trained with the adapter, by the mean
 * cross-entropy of the rows' labels. Labels are texts or whole numbers; their names are `labels`, else those of the model's head,
 * else those of the data, sorted.
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
  let { labels } = checkedOptions('classify', options)
  return {
    name: 'classify',
    options: optionsOf('classify', options),
    rows: 'labelled',
    metrics: ['accuracy'],
    smallRow: [TWO_TOKENS],
    labels: () => labels ?? [],
    async load(source, how) {
      const data = await loadDataset([...source], { ...how, labels, keepWithoutTarget: true })
      labels ??= [...data.labels!]
      requireSeveral(labels)
      return data
    },
    async loss(model, batch, { gradients }) {
      using scores = await lastScores(model, batch, gradients)
      const targets = Int32Array.from({ length: batch.rows }, (_, row) => batch.values?.[row] ?? 0)
      const weights = documentWeights(batch, targets.keys())
      const loss = scope(() => weightedCrossEntropies(scores, targets, weights))
      const weight = totalWeight(weights, targets.length)
      return { loss, weight, metrics: { accuracy: await accuracyOf(scores, targets) } }
    },
  }
}

export const classifyObjective = {
  ...classify(),
  name: 'classify',
  help: 'trains a head that tells the label of a text',
  withOptions: (options) => classify(optionsOf('classify', options)),
} as const satisfies BuiltInObjective

function requireSeveral(labels: readonly string[]): void {
  if (labels.length > 1) return
  throw new UsageError(
    'one-label',
    `All rows have the label ${labels[0]}, so there is nothing to tell apart: give rows of two labels or more.`,
  )
}
