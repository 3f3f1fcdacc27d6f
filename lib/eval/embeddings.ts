/** Embeddings of texts, and the task that measures them. */

import { z } from 'zod'
import { encodeRow } from '../batches/examples/encode.js'
import type { Document } from '../batches/examples/example.js'
import { passesOf } from '../batches/packing.js'
import { anyText, aSignal, check, expecting, optionsSchema, wholeFrom } from '../common/arguments.js'
import { aModel } from '../generate/index.js'
import type { LoadedModel } from '../models/index.js'
import { POOLINGS, type Pooling, poolingOf } from '../nn/pooling.js'
import { embedded } from '../objectives/pooling.js'
import { malformedRow } from '../rows/check.js'
import { related, relatedTexts } from '../rows/kinds/related.js'
import { DEFAULT_MAX_LENGTH } from '../rows/row-choices.js'
import type { Row } from '../rows/rows.js'
import { average } from '../tasks/measures.js'
import { ranksOf } from './classify.js'
import type { TaskContext } from './context.js'
import { taskRecords } from './rows.js'
import { rowsAtOnce } from './score.js'

/** Options of `embeddingsOf`. */
export interface EmbeddingOptions {
  /** `mean` of the states of all tokens, or the state of the `last`. Default: as the model was trained, else `mean`. */
  pooling?: Pooling
  /** Maximum number of tokens of a text; a longer one keeps its start. Default: 1024. */
  maxLength?: number
  /** Texts in a forward pass, at most. Default: 8. */
  batchSize?: number
  /** Aborting it ends the call before the next forward pass with its reason. */
  signal?: AbortSignal
}

const embeddingsOfArguments = {
  model: aModel,
  texts: expecting('a list of texts', z.array(anyText)),
  options: optionsSchema('the options of embeddingsOf', {
    pooling: z.enum(POOLINGS).optional(),
    maxLength: wholeFrom(2).optional(),
    batchSize: wholeFrom(1).optional(),
    signal: aSignal.optional(),
  }),
}

/**
 * Returns the embedding of each text, [D] of length 1: the states after the final norm, pooled. The product of two is their cosine.
 *
 * ```ts
 * import { embeddingsOf, loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const [one, other] = await embeddingsOf(model, ['A fine day', 'Lovely weather'])
 * console.log(one!.reduce((sum, value, i) => sum + value * other![i]!, 0))
 * ```
 *
 * @throws UsageError `no-tokenizer`, `unsupported-option` where the model's files pool in another way; InputError of an empty text
 */
export async function embeddingsOf(
  model: LoadedModel,
  texts: readonly string[],
  options: EmbeddingOptions = {},
): Promise<Float32Array[]> {
  check({ model, texts, options }, embeddingsOfArguments)
  const { pooling = poolingOf(model), maxLength = DEFAULT_MAX_LENGTH, batchSize = 8, signal } = options
  const how = { tokenizer: model.tokenizer, template: null, maxLength, trainOn: 'completion', signal } as const
  const encoded = async function* (): AsyncGenerator<Document> {
    for (const [i, text] of texts.entries()) {
      const row: Row = { kind: 'compared', examples: [[{ kind: 'text', text }]], areWhole: true }
      const encoded = await encodeRow(row, `text ${i + 1}`, how)
      yield* encoded.rows.flatMap(({ documents }) => documents)
    }
  }
  const all: Float32Array[] = []
  for await (const pass of passesOf(encoded(), batchSize)) {
    signal?.throwIfAborted()
    all.push(...(await embedded(model, pass, pooling)))
  }
  return all
}

type Related = ReturnType<typeof relatedTexts>

/** Texts that count in the ranking of an anchor. */
const BEST = 10

interface Nearness {
  /** For related texts, the mean over anchors of the normalised discounted gain of the ten nearest texts (nDCG@10). */
  ndcgAt10?: number
  /** For scored pairs, Spearman's correlation of cosines and scores; null if either does not vary. */
  spearman?: number | null
  /** Number of rows. */
  rows: number
}

/**
 * Measures embeddings: with rows of related texts, how high each anchor's positives rank among all positives and negatives; with
 * scored pairs, how well the order of cosines matches the order of scores.
 */
export async function nearness(context: TaskContext): Promise<Nearness> {
  const { model, data, options, reading, maxLength, signal, found } = context
  const rows: Related[] = []
  for await (const record of taskRecords(data, { limit: options.limit, signal })) {
    const row = relatedTexts(reading.formed(record, related))
    if (rows.length > 0 && (row.score === undefined) !== (rows[0]!.score === undefined))
      throw malformedRow(record.where, 'some rows have a score and others have none: measure them apart')
    rows.push(row)
  }
  found(rows.length)
  const texts = [...new Set(rows.flatMap(({ anchor, positives, negatives }) => [anchor, ...positives, ...negatives]))]
  const values = await embeddingsOf(model, texts, {
    maxLength,
    batchSize: rowsAtOnce(options),
    ...(signal && { signal }),
  })
  const vectors = new Map(texts.map((text, i) => [text, values[i]!]))
  return rows[0]!.score === undefined ? retrieval(rows, vectors, context) : similarity(rows, vectors, context)
}

type Vectors = ReadonlyMap<string, Float32Array>

async function retrieval(rows: readonly Related[], vectors: Vectors, { done }: TaskContext): Promise<Nearness> {
  const corpus = [...new Set(rows.flatMap(({ positives, negatives }) => [...positives, ...negatives]))]
  const relevant = new Map<string, Set<string>>()
  for (const { anchor, positives } of rows)
    relevant.set(anchor, new Set([...(relevant.get(anchor) ?? []), ...positives]))
  const gains: number[] = []
  for (const [anchor, positives] of relevant) {
    const cosines = new Map(corpus.map((text) => [text, cosine(vectors.get(anchor)!, vectors.get(text)!)]))
    const ranked = corpus.toSorted((a, b) => cosines.get(b)! - cosines.get(a)!).slice(0, BEST)
    const gain = (isRelevant: boolean, place: number) => (isRelevant ? 1 / Math.log2(place + 2) : 0)
    const sum = (hits: readonly boolean[]) => hits.reduce((total, hit, place) => total + gain(hit, place), 0)
    const best = sum(Array.from({ length: Math.min(BEST, positives.size) }, () => true))
    gains.push(sum(ranked.map((text) => positives.has(text))) / best)
    await done({ anchor, ranked, score: gains.at(-1) }, `nDCG@10 ${average(gains).toFixed(3)}`)
  }
  return { ndcgAt10: average(gains), rows: rows.length }
}

async function similarity(rows: readonly Related[], vectors: Vectors, { done }: TaskContext): Promise<Nearness> {
  const cosines: number[] = []
  for (const { anchor, positives, score } of rows) {
    cosines.push(cosine(vectors.get(anchor)!, vectors.get(positives[0]!)!))
    await done({ sentence1: anchor, sentence2: positives[0], score, cosine: cosines.at(-1) })
  }
  return { spearman: correlation(ranksOf(cosines), ranksOf(rows.map(({ score }) => score!))), rows: rows.length }
}

const cosine = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0)

/** Returns Pearson's correlation; null if either does not vary. */
function correlation(a: readonly number[], b: readonly number[]): number | null {
  const [meanA, meanB] = [average(a), average(b)]
  const sum = (of: (i: number) => number) => a.reduce((total, _, i) => total + of(i), 0)
  const together = sum((i) => (a[i]! - meanA) * (b[i]! - meanB))
  const apart = Math.sqrt(sum((i) => (a[i]! - meanA) ** 2) * sum((i) => (b[i]! - meanB) ** 2))
  return apart === 0 ? null : together / apart
}
