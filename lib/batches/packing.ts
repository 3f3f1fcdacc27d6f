/** Packs rows end to end for a forward pass, and plans which rows share one. */
import { check, custom, isListOfWholes, optionsSchema, wholeBetween } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import type { Batch } from './batch.js'
import { countTokens, type Document, type Example, labelledDocuments } from './examples/example.js'
import type { StepRow } from './step-rows.js'

/** One document of a batch. */
export interface PackedRow {
  /** Token ids. */
  ids: ArrayLike<number>
  /** 1 for each trained token. */
  mask: ArrayLike<number>
  /** The value that an objective compares the document by, such as the number of its label; default 0. */
  label?: number
  /** Index within the optimizer step. Dropout masks depend on it, not on the packing. */
  row: number
  /** The factor of the document's loss, and of its part of the divisor; default 1. */
  weight?: number
}

/** Options of `packBatch`. */
export interface PackOptions {
  /**
   * Length that every document is padded to at its end, at most 2^24. Pads are id 0 without a target; nothing before them
   * sees them, so they cost time and change nothing else.
   */
  padTo?: number
}

/** Far more than any model reads at a time; the indices take a third of a gigabyte. */
const MOST_PADDING = 2 ** 24

function isRow(value: unknown): boolean {
  const { ids, mask, row, label = 0 } = (value ?? {}) as Partial<PackedRow>
  if (typeof label !== 'number') return false
  return isListOfWholes(ids) && isNumbers(mask) && mask.length === ids.length && Number.isSafeInteger(row)
}

const isNumbers = (value: unknown): value is ArrayLike<number> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView))

const packBatchArguments = {
  rows: custom('a list of rows of ids, mask and row', (rows) => Array.isArray(rows) && rows.every(isRow)),
  options: optionsSchema('the options of packBatch', { padTo: wholeBetween(0, MOST_PADDING).optional() }),
}

/** Packs documents into one batch; attention and positions start anew in each. */
export function packBatch(rows: readonly PackedRow[], options: PackOptions = {}): Batch {
  check({ rows, options }, packBatchArguments)
  const { padTo = 0 } = options
  const lengths = rows.map(({ ids }) => Math.max(ids.length, padTo))
  const tokens = lengths.reduce((sum, length) => sum + length, 0)
  const ids = new Int32Array(tokens)
  const targets = new Int32Array(tokens).fill(-1)
  const positions = new Int32Array(tokens)
  const offsets = new Int32Array(rows.length + 1)
  const rowKeys = new BigInt64Array(tokens)
  let targetTokens = 0
  let start = 0
  for (const [document, row] of rows.entries()) {
    const length = lengths[document]!
    const rowKey = BigInt(row.row) << 32n
    ids.set(row.ids, start)
    for (let t = 0; t < length; t++) {
      positions[start + t] = t
      rowKeys[start + t] = rowKey | BigInt(t)
    }
    for (let t = 0; t + 1 < row.ids.length; t++) {
      if (!row.mask[t + 1]) continue
      targets[start + t] = row.ids[t + 1]!
      targetTokens++
    }
    start += length
    offsets[document + 1] = start
  }
  const isWeighted = rows.some(({ weight = 1 }) => weight !== 1)
  return {
    ids,
    targets,
    positions,
    offsets,
    rowKeys,
    targetTokens,
    rows: rows.length,
    ...(isWeighted && { weights: Float32Array.from(rows, ({ weight = 1 }) => weight) }),
    ...(rows.some(({ label }) => label) && { labels: Float32Array.from(rows, ({ label = 0 }) => label) }),
    ...(padTo > 0 && { lengths: Int32Array.from(rows, (row) => row.ids.length) }),
  }
}

interface MicroBatchLimits {
  /** Maximum number of tokens of a forward pass; a longer row has a pass of its own. */
  tokenBudget?: number
  /** Maximum number of rows of a forward pass. */
  microBatchSize?: number
}

/**
 * Packs the documents of rows into one batch: the documents of a row follow each other and share its dropout keys. Without
 * `packing` each is padded to the longest. A row is at its `row` in the step, or else at its index.
 */
export function packRows(rows: readonly (Example & Partial<StepRow>)[], packing = true): Batch {
  const documents = rows.flatMap(({ row, ...example }, i) =>
    labelledDocuments(example).map((one) => ({ ...one, row: row ?? i })),
  )
  return packBatch(documents, { padTo: packing ? 0 : longestOf(rows) })
}

/** Yields the forward passes of a step's rows, packed as `packRows` does. Rows are never divided. */
export function* microBatches(
  rows: readonly StepRow[],
  { packing, ...limits }: MicroBatchLimits & { packing: boolean },
): Iterable<Batch> {
  const longest = packing ? 0 : longestOf(rows)
  const costs = rows.map(({ documents }) => (packing ? countTokens(documents) : documents.length * longest))
  for (const pass of planMicroBatches(costs, limits)) {
    yield packRows(
      pass.map((i) => rows[i]!),
      packing,
    )
  }
}

/** Tokens of a forward pass of `passesOf`: more would take memory and not be faster on a CPU. */
const TOKEN_BUDGET = 2048

/** Yields documents in their order, as many at a time as a forward pass takes. A longer document than that has a pass of its own. */
export async function* passesOf<Own extends Document>(
  documents: Iterable<Own> | AsyncIterable<Own>,
  microBatchSize: number,
): AsyncGenerator<Own[]> {
  let pass: Own[] = []
  let tokens = 0
  for await (const document of documents) {
    const { length } = document.ids
    if (pass.length > 0 && (pass.length >= microBatchSize || tokens + length > TOKEN_BUDGET)) {
      yield pass
      pass = []
      tokens = 0
    }
    pass.push(document)
    tokens += length
  }
  if (pass.length > 0) yield pass
}

const longestOf = (rows: readonly Example[]): number =>
  Math.max(0, ...rows.flatMap(({ documents }) => documents.map(({ ids }) => ids.length)))

/**
 * Divides the rows of a step into few and full forward passes: the longest row first, each into the fullest pass that it still
 * fits (best fit decreasing). The result depends on the arguments alone.
 *
 * @param lengths tokens of each row, in all its documents
 * @returns indices into `lengths`; ascending in each pass, passes by their first index
 */
export function planMicroBatches(lengths: ArrayLike<number>, limits: MicroBatchLimits = {}): number[][] {
  const { tokenBudget = Number.POSITIVE_INFINITY, microBatchSize = Number.POSITIVE_INFINITY } = limits
  if (!(tokenBudget >= 1 && microBatchSize >= 1)) {
    throw new UsageError(
      'bad-option',
      `Expected at least 1 for tokenBudget and ${optionName('microBatchSize')} but received ${tokenBudget} and ${microBatchSize}.`,
    )
  }
  // Rows of one length stay in their order: sorting is stable.
  const order = Array.from(lengths, (_, i) => i).sort((a, b) => lengths[b]! - lengths[a]!)
  const passes: { rows: number[]; room: number }[] = []
  for (const index of order) {
    const length = lengths[index]!
    let best: (typeof passes)[number] | undefined
    for (const pass of passes) {
      if (pass.rows.length >= microBatchSize || pass.room < length) continue
      if (!best || pass.room < best.room) best = pass
    }
    if (!best) {
      best = { rows: [], room: tokenBudget }
      passes.push(best)
    }
    best.rows.push(index)
    best.room -= length
  }
  return passes.map((pass) => pass.rows.sort((a, b) => a - b)).sort((a, b) => a[0]! - b[0]!)
}
