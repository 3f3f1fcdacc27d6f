/** Computes log-probabilities of many short rows, several per forward pass. */
import { countTargets, type Document, exampleOf } from '../batches/examples/example.js'
import { packRows, passesOf } from '../batches/packing.js'
import type { LoadedModel } from '../models/index.js'
import type { EvalOptions } from '../options/index.js'

/** Returns the rows of a forward pass. */
export const rowsAtOnce = ({ batchSize }: Pick<EvalOptions, 'batchSize'>): number =>
  batchSize === 'auto' ? 8 : batchSize

/** Returns the maximum number of texts that are generated at once. */
export const textsAtOnce = ({ batchSize }: Pick<EvalOptions, 'batchSize'>): number =>
  batchSize === 'auto' ? 32 : batchSize

/** Scores rows in their order; holds the rows of one forward pass only. */
export async function* scoreRows<Row extends Document>(
  model: LoadedModel,
  rows: Iterable<Row> | AsyncIterable<Row>,
  { batchSize, signal }: { batchSize: number; signal?: AbortSignal },
): AsyncGenerator<{ row: Row; logprobs: Float32Array }> {
  for await (const pass of passesOf(rows, batchSize)) yield* await scorePass(model, pass, signal)
}

/**
 * Scores the rows of one forward pass.
 * @returns each with the natural log-probabilities of the tokens that its mask marks, except its first
 */
export async function scorePass<Row extends Document>(
  model: LoadedModel,
  rows: readonly Row[],
  signal?: AbortSignal,
): Promise<{ row: Row; logprobs: Float32Array }[]> {
  signal?.throwIfAborted()
  const batch = packRows(rows.map(exampleOf))
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
