/** Data files as rows of token ids, tokenised once. */

import {
  aFlag,
  aFunction,
  anObject,
  aText,
  described,
  either,
  listOf,
  oneOf,
  optional,
  orNull,
  requireArgument,
  requireOptionsOf,
  texts,
  wholeFrom,
} from '../arguments.js'
import { about, InputError, quoted, UsageError } from '../errors.js'
import { isTooLarge } from '../foreign-errors.js'
import { hubKinds } from '../hub/index.js'
import { type CachedDataset, cacheKey, defaultCacheFolder, readCache, writeCache } from './dataset-cache.js'
import { checkIds, countTargets, type EncodedRow, type EncodeOptions, encodeRow, type TokenRow } from './encode.js'
import { type FindOptions, findDataFiles } from './files/data-files.js'
import { readRecords } from './files/readers.js'
import type { TurnCounts } from './masks/chat-turns.js'
import type { DataRecord } from './rows/record.js'
import { rowOf } from './rows/rows.js'
import { resolveTools } from './rows/tools.js'
import type { DataSummary } from './summary.js'
import { json } from './templates/jinja/text.js'
import { toValue } from './templates/jinja/values.js'
import { resolveTemplate } from './templates/template.js'
import { hashArrays, type TokenArrays, TokenStore } from './token-store.js'
import { aTokenizer, type Tokenizer } from './tokenizer/tokenizer.js'

export interface DatasetOptions extends FindOptions {
  /** Of the model; null where it has none: only `input_ids` rows can then be read. */
  tokenizer: Tokenizer | null
  /** Longest row, in tokens; 1024. */
  maxLength?: number
  /** `auto` (the model's own, the default), `none`, or the path of a Jinja file. */
  template?: string
  /** `all` also trains the prompt; `completion`. */
  trainOn?: 'completion' | 'all'
  /** Schemas of functions that the model may call, or the path of a JSON file of them; rows with tools of their own keep those. */
  tools?: string | readonly unknown[]
  /** Variables of the template, such as `enable_thinking`; those of a row win. */
  templateOptions?: Readonly<Record<string, unknown>>
  /** Rows of the model's embedding: a larger id is refused. */
  vocabSize?: number
  /** Keeps rows without any target, and accepts data without any: for looking, not for training. */
  keepWithoutTarget?: boolean
  /** Folder of tokenised data; null: none. By default the user's cache, from 256 KiB of data on. */
  cacheDir?: string | null
  /** Called now and then while rows are tokenised. */
  onProgress?: (progress: { rows: number; tokens: number }) => void
}

/** Token rows in compact arrays. */
export class Dataset {
  constructor(
    private readonly arrays: TokenArrays,
    readonly summary: DataSummary,
    /** sha256, hexadecimal, of all rows and masks. */
    readonly hash: string,
  ) {}

  get length(): number {
    return this.arrays.offsets.length - 1
  }

  /** Views of a row; valid as long as the data set, not to be written. */
  row(index: number): TokenRow {
    this.requireRow(index)
    const start = this.arrays.offsets[index]!
    const end = this.arrays.offsets[index + 1]!
    return { ids: this.arrays.ids.subarray(start, end), mask: this.arrays.mask.subarray(start, end) }
  }

  /** Tokens of a row. */
  rowLength(index: number): number {
    this.requireRow(index)
    return this.arrays.offsets[index + 1]! - this.arrays.offsets[index]!
  }

  private requireRow(index: number): void {
    if (Number.isInteger(index) && index >= 0 && index < this.length) return
    throw new UsageError('bad-value', `Expected a row from 0 to ${this.length - 1} but received ${quoted(index)}.`)
  }
}

const SMALL_DATA_BYTES = 256 * 1024
const PROGRESS_EVERY = 256

/**
 * Reads, tokenises and masks data; the result is kept in a cache and found again by content.
 *
 * @param source a file, a folder, a hub id, `-`, or several
 * @throws UsageError of missing or unfit sources
 * @throws InputError of malformed rows (file and line), ids past `vocabSize`, and data in which nothing is trained
 */
export async function loadDataset(source: string | readonly string[], options: DatasetOptions): Promise<Dataset> {
  requireArgument('source', source, either(described(aText, 'a path or hub id'), described(texts, 'a list of them')))
  requireDatasetOptions(options)
  const files = await findDataFiles(source, options)
  const settings = await encodeOptions(options)
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const folder = options.cacheDir === undefined && bytes >= SMALL_DATA_BYTES ? defaultCacheFolder() : options.cacheDir
  const usesCache = folder && !files.some((file) => file.path === '-')
  const name = [source].flat().join(', ')
  if (!usesCache) return announced(await build(readRecords(files), settings, options), name, options)

  const key = await cacheKey(files, {
    tokenizer: options.tokenizer?.hash ?? null,
    template: settings.template?.hash ?? null,
    specialTokens: settings.template ? options.tokenizer?.specialTokens : null,
    maxLength: settings.maxLength,
    trainOn: settings.trainOn,
    context: settings.context ? json(toValue(settings.context)) : null,
    vocabSize: options.vocabSize ?? null,
    keepWithoutTarget: options.keepWithoutTarget ?? false,
  })
  let found = await readCache(folder, key)
  if (!found) {
    found = await build(readRecords(files), settings, options)
    await writeCache(folder, key, found).catch((error: Error) => {
      options.onWarning?.(`The tokenised data could not be kept in ${folder}: ${error.message}`)
    })
  }
  return announced(found, name, options)
}

/**
 * Like `loadDataset`, of rows that are already in memory or come from elsewhere.
 * @param rows in any form that a data file may have
 */
export async function datasetFromRows(
  rows: Iterable<unknown> | AsyncIterable<unknown>,
  options: DatasetOptions,
): Promise<Dataset> {
  requireDatasetOptions(options)
  const records = async function* (): AsyncGenerator<DataRecord> {
    let number = 0
    for await (const value of rows) yield { value, where: `row ${++number}` }
  }
  return announced(await build(records(), await encodeOptions(options), options), 'the rows', options)
}

function requireDatasetOptions(options: DatasetOptions): void {
  requireOptionsOf('the options of loadDataset', options, {
    ...{ tokenizer: optional(orNull(aTokenizer)), template: optional(aText) },
    ...{ trainOn: optional(oneOf('completion', 'all')), vocabSize: optional(wholeFrom(1)) },
    ...{ keepWithoutTarget: optional(aFlag), cacheDir: optional(orNull(aText)), onProgress: optional(aFunction) },
    ...{ tools: optional(either(aText, listOf(anObject, 'schemas'))), templateOptions: optional(anObject) },
    purpose: optional(oneOf('training', 'evaluation', 'validation')),
    ...hubKinds,
  })
}

/** Options with their defaults, and the template loaded. */
export async function encodeOptions(options: DatasetOptions): Promise<EncodeOptions> {
  const { tokenizer, maxLength = 1024, template = 'auto', trainOn = 'completion' } = options
  if (!Number.isInteger(maxLength) || maxLength < 2) {
    throw new UsageError(
      'bad-option',
      `Expected an integer of at least 2 for maxLength but received ${quoted(maxLength)}.`,
    )
  }
  return {
    tokenizer,
    maxLength,
    trainOn,
    template: tokenizer ? await resolveTemplate(template, tokenizer) : null,
    context: { tools: (await resolveTools(options.tools)) ?? null, templateOptions: options.templateOptions ?? {} },
  }
}

async function build(
  records: AsyncIterable<DataRecord>,
  settings: EncodeOptions,
  options: DatasetOptions,
): Promise<CachedDataset> {
  const store = new TokenStore()
  const specialCounts = new Map<number, number>()
  const specialIds = options.tokenizer?.specialIds ?? new Set<number>()
  const summary: DataSummary = {
    rows: 0,
    tokens: 0,
    targetTokens: 0,
    truncated: 0,
    withoutTarget: 0,
    dropped: 0,
    foreignOpenings: 0,
    openEnds: 0,
    droppedCalls: 0,
    droppedMessages: 0,
    first: {},
    trainedSpecialTokens: [],
  }
  let read = 0
  for await (const record of records) {
    options.signal?.throwIfAborted()
    const { where } = record
    const encoded = encodedRecord(record, settings)
    if (encoded.truncated) summary.truncated++
    if (encoded.turns) addTurns(summary, encoded.turns, where)
    for (const row of encoded.rows) {
      if (options.vocabSize !== undefined) checkIds(row.ids, options.vocabSize, where)
      const targets = countTargets(row.mask)
      if (targets === 0) {
        summary.withoutTarget++
        if (!options.keepWithoutTarget) {
          summary.dropped++
          continue
        }
      }
      store.push(row)
      summary.tokens += row.ids.length
      summary.targetTokens += targets
      for (let i = 1; i < row.ids.length; i++) {
        const id = row.ids[i]!
        if (row.mask[i] && specialIds.has(id)) specialCounts.set(id, (specialCounts.get(id) ?? 0) + 1)
      }
    }
    if (++read % PROGRESS_EVERY === 0) options.onProgress?.({ rows: read, tokens: summary.tokens })
  }
  options.onProgress?.({ rows: read, tokens: summary.tokens })
  summary.rows = store.length
  summary.trainedSpecialTokens = [...specialCounts]
    .sort(([a], [b]) => a - b)
    .map(([id, count]) => ({ id, token: options.tokenizer?.tokenOf(id) ?? '', count }))
  const arrays = store.finish()
  return { arrays, summary, hash: hashArrays(arrays) }
}

/** What is too large for the tokenizer, or for a list of ids, is named. */
function encodedRecord(record: DataRecord, settings: EncodeOptions): EncodedRow {
  const { where } = record
  try {
    return encodeRow(rowOf(record), where, settings)
  } catch (error) {
    if (error instanceof InputError && error.code === 'too-large') throw about(where, error)
    if (!isTooLarge(error)) throw error
    throw new InputError('too-large', `${where} is larger than what can be held at a time: make it several rows.`, {
      cause: error,
    })
  }
}

function announced({ arrays, summary, hash }: CachedDataset, name: string, options: DatasetOptions): Dataset {
  const { rows, withoutTarget, dropped, truncated, targetTokens } = summary
  const warn = (message: string) => options.onWarning?.(message)
  if (rows === 0 && withoutTarget === 0) throw new InputError('empty-data', `${name}: no row was found.`)
  if (targetTokens === 0 && !options.keepWithoutTarget) {
    throw new InputError(
      'nothing-to-train',
      `${name}: nothing would be trained in any of its ${withoutTarget} rows (no assistant's turn, all labels ${-100}, or answers that are empty).`,
    )
  }
  if (dropped > 0) warn(`${name}: ${dropped} rows in which nothing is trained were left out.`)
  if (truncated > 0)
    warn(
      `${name}: ${truncated} rows were longer than max-length and lost the start of their prompt (or the end of the answer where that alone was too long).`,
    )
  for (const note of turnNotes(summary)) warn(`${name}: ${note}`)
  return new Dataset(arrays, summary, hash)
}

function addTurns(summary: DataSummary, turns: TurnCounts, where: string): void {
  for (const key of Object.keys(turns) as (keyof TurnCounts)[]) {
    if (turns[key] === 0) continue
    summary[key] += turns[key]
    summary.first[key] ??= where
  }
}

/** What the user should know of how the template took the rows. */
function turnNotes(summary: DataSummary): string[] {
  const { foreignOpenings, openEnds, droppedCalls, droppedMessages, first } = summary
  const notes: [count: number, note: string][] = [
    [
      foreignOpenings,
      `the chat template opens ${foreignOpenings} of the assistant's turns otherwise than it prompts for one (a thinking block?).`,
    ],
    [
      openEnds,
      `the chat template ends ${openEnds} of the assistant's turns with no token (first: ${first.openEnds}), so these do not teach the model to stop.`,
    ],
    [
      droppedCalls,
      `the chat template leaves out calls of ${droppedCalls} of the assistant's turns (first: ${first.droppedCalls}): what is trained of these is the rest, or their end alone; name a template that knows tools (--template FILE).`,
    ],
    [
      droppedMessages,
      `the chat template shows nothing of ${droppedMessages} messages (first: ${first.droppedMessages}).`,
    ],
  ]
  return notes.filter(([count]) => count > 0).map(([, note]) => note)
}
