/** The input of tasks: rows of the data, their examples, and windows of texts. */

import { checkIds, encodeRow } from '../batches/examples/encode.js'
import { countTargets, type Document, type Example } from '../batches/examples/example.js'
import { InputError, UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { promptTemplate, requireTokenizer } from '../generate/index.js'
import type { HubOptions } from '../hub/index.js'
import { type EvalInput, type EvalOptions, EvalSchema, maxLengthOf, parseOptions } from '../options/index.js'
import { RowReading } from '../rows/reading.js'
import type { DataRecord } from '../rows/record.js'
import type { Row } from '../rows/rows.js'
import { namesOf, type OpenSource, openSources } from '../rows/sources/open.js'
import { resolveTools } from '../rows/tools.js'
import { requireNothingForTemplate } from '../text/template.js'
import type { OpenData, RowsContext, TaskContext } from './context.js'

/** Opens the data of a task. */
export async function openData(options: EvalOptions, hub: HubOptions): Promise<OpenData> {
  const { extensions } = options
  return {
    signal: hub.signal,
    options,
    data: await openSources(options.data!, { purpose: 'evaluation', extensions, ...hub }),
    shotsData: options.shotsData && (await openSources(options.shotsData, { extensions, ...hub })),
    reading: new RowReading(options),
  }
}

/** Opens the data of a task, and returns what its rows need to become tokens. */
export async function openTask<Model extends RowsContext['model']>(
  model: Model,
  options: EvalOptions,
  { template = 'auto', ...hub }: HubOptions & { template?: string },
): Promise<Omit<RowsContext, 'encoded'> & { model: Model }> {
  const resolved = model.tokenizer ? await promptTemplate(model, { template }, hub.onWarning) : null
  const templateContext = { tools: await resolveTools(options.tools), templateOptions: options.templateOptions }
  if (!resolved) requireNothingForTemplate(templateContext)
  return {
    ...(await openData(options, hub)),
    model,
    templateContext,
    template: resolved,
    maxLength: rowLimit(options, model.config.maxPositions),
  }
}

function rowLimit({ maxLength }: EvalOptions, maxPositions: number): number {
  if (maxLength === undefined || maxLength <= maxPositions) return maxLengthOf(maxLength, maxPositions)
  throw new UsageError(
    'bad-value',
    `${optionName('maxLength')} ${maxLength} exceeds the model's ${maxPositions} positions.`,
  )
}

/** Yields at most `limit` records of the sources, in order, until the signal is aborted. */
export async function* taskRecords(
  sources: readonly OpenSource[],
  { limit = Number.POSITIVE_INFINITY, signal }: { limit?: number; signal?: AbortSignal } = {},
): AsyncGenerator<DataRecord> {
  let count = 0
  for (const source of sources) {
    for await (const record of source.records()) {
      signal?.throwIfAborted()
      yield record
      if (++count >= limit) return
    }
  }
  if (count === 0) throw new InputError('empty-data', `${namesOf(sources)}: no row was found.`)
}

/** Reads all rows up to the limit, so that a malformed one is found before any is asked. */
export async function readAll<Row>(
  { data, options, signal, found }: OpenData & Pick<TaskContext, 'found'>,
  read: (record: DataRecord) => Row,
): Promise<Row[]> {
  const rows: Row[] = []
  for await (const record of taskRecords(data, { limit: options.limit, signal })) rows.push(read(record))
  found(rows.length)
  return rows
}

/**
 * Returns the examples of a row, encoded as in training: several if a text is longer than `maxLength`. Another row that is
 * longer keeps its start; it has no example if nothing of its answer is left.
 */
export async function examplesOf(
  row: Row,
  where: string,
  { model, options, template, templateContext: context, maxLength, encoded: onEncoded, signal }: RowsContext,
): Promise<Example[]> {
  const { tokenizer, config } = model
  const encoded = await encodeRow(row, where, {
    tokenizer,
    template,
    maxLength,
    trainOn: options.trainOn,
    context,
    signal,
  })
  for (const { documents } of encoded.rows) {
    for (const { ids } of documents) checkIds(ids, config.vocabularySize, where)
  }
  onEncoded(encoded)
  return encoded.rows
}

interface WindowOptions {
  /** Tokens of a window. */
  window: number
  /** Tokens from one window to the next; at most `window`. */
  stride: number
}

/** A row, or a window of a text, whose targets are scored. */
export interface ScoredRow extends Document {
  /** Number of tokens that no earlier window has. */
  newTokens: number
}

/**
 * Cuts a text into windows. Each predicts the tokens that no earlier window has, except its own first, which is context. With a
 * stride below the window, the tokens that it shares with the previous window are context too.
 */
export function* textWindows(ids: Int32Array, { window, stride }: WindowOptions): Generator<ScoredRow> {
  let seen = 0
  for (let start = 0; seen < ids.length; start += stride) {
    const end = Math.min(start + window, ids.length)
    const firstTarget = Math.max(seen - start, 1)
    const newTokens = end - seen
    seen = end
    if (firstTarget >= end - start) continue
    yield {
      ids: ids.subarray(start, end),
      mask: new Uint8Array(end - start).fill(1, firstTarget),
      newTokens,
    }
  }
}

/** Yields windows of texts, and the documents of all other rows with a target; at most `limit`. */
export async function* scoredRows(context: RowsContext): AsyncGenerator<ScoredRow> {
  const { options, data, reading, signal } = context
  let count = 0
  for await (const record of taskRecords(data, { signal })) {
    const { where } = record
    const row = reading.training(record)
    const rows =
      row.kind === 'text'
        ? await windowsOf(row.text, where, context)
        : documentsWithTargets(await examplesOf(row, where, context))
    for (const scored of rows) {
      yield scored
      if (++count === options.limit) return
    }
  }
}

async function windowsOf(
  text: string,
  where: string,
  { model, options, maxLength, signal }: RowsContext,
): Promise<Iterable<ScoredRow>> {
  const ids = Int32Array.from(await requireTokenizer(model).encodeText(text, signal))
  checkIds(ids, model.config.vocabularySize, where)
  return textWindows(ids, windowOptions(options, maxLength, model.config.maxPositions))
}

function windowOptions(
  options: { window?: number; stride?: number },
  maxLength: number,
  maxPositions: number,
): WindowOptions {
  const { window = maxLength } = options
  const { stride = window } = options
  if (window > maxPositions) {
    throw new UsageError('bad-value', `The window of ${window} tokens exceeds the model's ${maxPositions} positions.`)
  }
  if (stride > window) {
    throw new UsageError('unfit-options', `The stride of ${stride} tokens exceeds the window of ${window}.`)
  }
  return { window, stride }
}

function documentsWithTargets(examples: readonly Example[]): ScoredRow[] {
  const documents = examples.flatMap((one) => one.documents).filter((one) => countTargets([one]) > 0)
  return documents.map((one) => ({ ...one, newTokens: one.ids.length }))
}

/**
 * Checks rows as the task `change` reads them, before anything is computed.
 * @throws UsageError for rows that do not fit the model, InputError for malformed rows and if no token is predicted
 */
export async function requireTargets(
  reader: RowsContext['model'],
  data: EvalInput['data'],
  hub: Pick<HubOptions, 'offline' | 'signal'>,
): Promise<void> {
  const options = parseOptions(EvalSchema, { task: 'change', data })
  const settings = await openTask(reader, options, hub)
  let targets = false
  for await (const { mask } of scoredRows({ ...settings, encoded: () => {} })) targets ||= mask.includes(1, 1)
  if (targets) return
  throw noTargets(settings.data, 'there is nothing to compare')
}

/** Returns the error for data without a token to predict. */
export const noTargets = (data: readonly OpenSource[], consequence: string): InputError =>
  new InputError('no-targets', `${namesOf(data)}: no token is predicted, so ${consequence}.`)
