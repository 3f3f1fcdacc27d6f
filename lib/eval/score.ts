/** Log-probabilities of many short rows, several in a forward pass. */
import { countTargets, type TokenRow } from '../data/encode.js'
import { packBatch } from '../data/packing.js'
import type { EvaluatedModel } from './task.js'

/** Tokens of a forward pass; more are no faster on a CPU, and take memory. A longer row has a pass of its own. */
const TOKEN_BUDGET = 2048

export interface Scored<Row extends TokenRow> {
  row: Row
  /** Natural log-probability of each token that the mask marks, but for the first of the row. */
  logprobs: Float32Array
}

export interface ScoreOptions {
  /** Rows of a forward pass at most. */
  batchSize: number
  /** Ends the scoring before the next forward pass with its reason. */
  signal?: AbortSignal
}

/** Scores rows in their order; holds the rows of one forward pass only. */
export async function* scoreRows<Row extends TokenRow>(
  model: Pick<EvaluatedModel, 'tokenLogProbs'>,
  rows: Iterable<Row> | AsyncIterable<Row>,
  { batchSize, signal }: ScoreOptions,
): AsyncGenerator<Scored<Row>> {
  let pass: Row[] = []
  let tokens = 0
  for await (const row of rows) {
    if (pass.length > 0 && (pass.length >= batchSize || tokens + row.ids.length > TOKEN_BUDGET)) {
      yield* scorePass(model, pass, signal)
      pass = []
      tokens = 0
    }
    pass.push(row)
    tokens += row.ids.length
  }
  if (pass.length > 0) yield* scorePass(model, pass, signal)
}

async function* scorePass<Row extends TokenRow>(
  model: Pick<EvaluatedModel, 'tokenLogProbs'>,
  rows: readonly Row[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Scored<Row>> {
  signal?.throwIfAborted()
  const batch = packBatch(rows.map(({ ids, mask }, row) => ({ ids, mask, row })))
  const logprobs = await model.tokenLogProbs(batch)
  let start = 0
  for (const row of rows) {
    const end = start + countTargets(row.mask)
    yield { row, logprobs: logprobs.subarray(start, end) }
    start = end
  }
}

/** Sum in float64. */
export function sum(values: Iterable<number>): number {
  let total = 0
  for (const value of values) total += value
  return total
}
