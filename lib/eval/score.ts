/** Computes log-probabilities of many short rows, several per forward pass. */
import { countTargets, type Document } from '../batches/examples/example.js'
import { packBatch } from '../batches/packing.js'
import type { LoadedModel } from '../models/index.js'
import type { EvalOptions } from '../options/index.js'

/** Tokens of a forward pass: more would take memory and not be faster on a CPU. A longer row has a pass of its own. */
const TOKEN_BUDGET = 2048

interface Scored<Row extends Document> {
  row: Row
  /** Natural log-probabilities of the tokens that the mask marks, except the row's first. */
  logprobs: Float32Array
}

/** Returns the rows of a forward pass. */
export const rowsAtOnce = ({ batchSize }: Pick<EvalOptions, 'batchSize'>): number =>
  batchSize === 'auto' ? 8 : batchSize

/** Returns the maximum number of texts that are generated at once. */
export const textsAtOnce = ({ batchSize }: Pick<EvalOptions, 'batchSize'>): number =>
  batchSize === 'auto' ? 32 : batchSize

export interface ScoreOptions {
  /** Rows of a forward pass at most. */
  batchSize: number
  /** Aborting it ends the scoring before the next forward pass with its reason. */
  signal?: AbortSignal
}

/** Scores rows in their order; holds the rows of one forward pass only. */
export async function* scoreRows<Row extends Document>(
  model: LoadedModel,
  rows: Iterable<Row> | AsyncIterable<Row>,
  { batchSize, signal }: ScoreOptions,
): AsyncGenerator<Scored<Row>> {
  for await (const pass of passesOf(rows, batchSize)) yield* await scorePass(model, pass, signal)
}

/** Yields rows in their order, as many at a time as a forward pass takes. */
export async function* passesOf<Row extends Document>(
  rows: Iterable<Row> | AsyncIterable<Row>,
  batchSize: number,
): AsyncGenerator<Row[]> {
  let pass: Row[] = []
  let tokens = 0
  for await (const row of rows) {
    if (pass.length > 0 && (pass.length >= batchSize || tokens + row.ids.length > TOKEN_BUDGET)) {
      yield pass
      pass = []
      tokens = 0
    }
    pass.push(row)
    tokens += row.ids.length
  }
  if (pass.length > 0) yield pass
}

/** Scores the rows of one forward pass. */
export async function scorePass<Row extends Document>(
  model: LoadedModel,
  rows: readonly Row[],
  signal?: AbortSignal,
): Promise<Scored<Row>[]> {
  signal?.throwIfAborted()
  const batch = packBatch(rows.map(({ ids, mask }, row) => ({ ids, mask, row })))
  const logprobs = await model.tokenLogProbs(batch)
  let start = 0
  return rows.map((row) => {
    const end = start + countTargets([row])
    const scored = { row, logprobs: logprobs.subarray(start, end) }
    start = end
    return scored
  })
}

/** Returns the sum in float64. */
export function float64Sum(values: Iterable<number>): number {
  let total = 0
  for (const value of values) total += value
  return total
}
