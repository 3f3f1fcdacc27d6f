import { z } from 'zod'
import { type Batch, documentWeights, rowOfDocument, totalWeight } from '../batches/batch.js'
import { loadDataset } from '../batches/dataset.js'
import { POOLINGS, poolingOf } from '../nn/pooling.js'
import { optionalChoice, optionalReal } from '../schema/option.js'
import type { LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { mul } from '../tensor/operations/arithmetic.js'
import { gatherRows } from '../tensor/operations/indexing.js'
import { linear } from '../tensor/operations/products.js'
import { scope } from '../tensor/scope.js'
import { weightedCrossEntropies } from './formulas.js'
import { type BuiltInObjective, type Objective, TWO_TOKENS } from './objective.js'
import { pooledStates } from './pooling.js'
import { accuracyOf } from './weighted-sum.js'

export const EmbedSchema = z.strictObject({
  pooling: optionalChoice(
    'pooling of the hidden states of a text: their mean, or the state of its last token',
    POOLINGS,
    {
      defaultText: "as the model's files say, else mean",
    },
  ),
  temperature: optionalReal('divides cosines', { above: 0, defaultText: '0.05' }),
})

/** Options of embeddings. */
export type EmbedOptions = LibraryInput<typeof EmbedSchema>

/**
 * Embeddings of texts (InfoNCE, arXiv 1807.03748, equation 4, with the negatives of the batch): the states of a text are pooled and
 * scaled to length 1, and each anchor has the cross-entropy of its own positive among all positives and negatives of the forward pass,
 * by the cosine of both / `temperature` (0.05). The loss is the mean over the anchors of the step. The negatives come from one pass, so
 * `microBatchSize` and `memory` change the loss, unlike with other objectives.
 *
 * ```ts
 * import { embed, loadModel, train } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const data = [
 *   { anchor: 'How do I reset my password?', positive: 'Click on "forgotten" beside the login.' },
 *   { anchor: 'When are you open?', positive: 'From nine to five.' },
 * ]
 * await train(model, { objective: embed({ pooling: 'last' }), data, maxSteps: 2 }).finished
 * ```
 *
 * @throws UsageError for an option of the wrong type or range
 */
export function embed(options: EmbedOptions = {}): Objective {
  const { pooling = 'mean', temperature = 0.05 } = parseOptions(EmbedSchema, options)
  return {
    name: 'embed',
    options: plainOptions(options),
    rows: 'related',
    pooling,
    prepare: ({ model }) => embed({ ...options, pooling: options.pooling ?? poolingOf(model) }),
    metrics: ['accuracy'],
    smallRow: [TWO_TOKENS, TWO_TOKENS],
    load: (source, how) => loadDataset([...source], { ...how, keepWithoutTarget: true }),
    async loss(model, batch, { gradients }) {
      const { anchors, candidates, positives } = placesIn(batch)
      const weights = documentWeights(batch, anchors)
      using all = await pooledStates(model, batch, pooling, gradients)
      const { loss, similarity } = scope(() => {
        const similarity = mul(linear(gatherRows(all, anchors), gatherRows(all, candidates)), 1 / temperature)
        return { loss: weightedCrossEntropies(similarity, positives, weights), similarity }
      })
      const accuracy = await accuracyOf(similarity, positives)
      similarity.dispose()
      return { loss, weight: totalWeight(weights, anchors.length), metrics: { accuracy } }
    },
  }
}

export const embedObjective = {
  name: 'embed',
  help: 'draws the embeddings of related texts together',
  schema: EmbedSchema,
  rows: 'related',
  make: embed,
} as const satisfies BuiltInObjective

/**
 * Returns the documents of anchors and of candidates; each row is an anchor, its positive and its own
 * negatives. `positives` has for each anchor the place of its positive among the candidates.
 */
function placesIn(batch: Batch) {
  const [anchors, candidates, positives]: number[][] = [[], [], []]
  let row: number | null = null
  for (let document = 0; document < batch.rows; document++) {
    const own = rowOfDocument(batch, document)
    if (own !== row) {
      row = own
      anchors!.push(document)
      positives!.push(candidates!.length)
    } else candidates!.push(document)
  }
  return {
    anchors: Int32Array.from(anchors!),
    candidates: Int32Array.from(candidates!),
    positives: Int32Array.from(positives!),
  }
}
