/** Selects training rows, batches them and chooses targets. */
import { type Batch, packBatch, type Tokenizer } from 'node-mora'
import { BUCKET_FACTOR, CHARACTER_LIMIT, type TrainConfig } from './protocol.ts'

export interface Problem {
  query: string
  response: string
}

/** Whether a row is short enough. Characters are code points, as in Python. */
export function isKept({ query, response }: Problem): boolean {
  return [...`${query} ${response}`].length <= CHARACTER_LIMIT
}

export function promptOf({ query }: Problem, template: string): string {
  return template.split('{query}').join(query)
}

/** Prompt and response without anything between them, as token ids with the tokenizer's own BOS; cut at the end. */
export async function encodeProblem(
  problem: Problem,
  tokenizer: Tokenizer,
  { query_template, max_seq_length }: Pick<TrainConfig, 'query_template' | 'max_seq_length'>,
): Promise<number[]> {
  const ids = await tokenizer.encodeText(promptOf(problem, query_template) + problem.response)
  return ids.slice(0, max_seq_length)
}

/**
 * Batches of rows in their order: of each bucket of 20 batches, the longest rows come first. Rows of one length stay in
 * their order; what torch's argsort does with them is not defined.
 */
export async function* bucketedBatches<Row extends ArrayLike<unknown>>(
  rows: Iterable<Row> | AsyncIterable<Row>,
  batchSize: number,
): AsyncGenerator<Row[]> {
  let bucket: Row[] = []
  for await (const row of rows) {
    bucket.push(row)
    if (bucket.length < batchSize * BUCKET_FACTOR) continue
    yield* batchesOf(bucket, batchSize)
    bucket = []
  }
  yield* batchesOf(bucket, batchSize)
}

function* batchesOf<Row extends ArrayLike<unknown>>(bucket: readonly Row[], batchSize: number): Generator<Row[]> {
  const sorted = bucket.toSorted((a, b) => b.length - a.length)
  for (let start = 0; start < sorted.length; start += batchSize) yield sorted.slice(start, start + batchSize)
}

/**
 * Makes a batch equal to PEFT's, which pads rows with EOS on the right: every token is a target, the prompt's too, and of the
 * pads only the first. So every row ends with EOS except the longest ones, which have no pad. Further pads are not targets and
 * nothing attends to them, so they are left out.
 *
 * @returns `attended`: the sum of the attention mask, which the sum of cross-entropies is divided by. It counts each row's
 * first token, which is not a target, but not the pad, which is one.
 */
export function trainingBatch(rows: readonly number[][], eosId: number): { batch: Batch; attended: number } {
  const longest = Math.max(...rows.map((ids) => ids.length))
  const ended = rows.map((ids) => (ids.length < longest ? [...ids, eosId] : ids))
  return {
    batch: packBatch(ended.map((ids, row) => ({ ids, mask: new Uint8Array(ids.length).fill(1), row }))),
    attended: rows.reduce((sum, ids) => sum + ids.length, 0),
  }
}
