/** Data as rows of token ids, tokenised once. */

import { createHash } from 'node:crypto'
import { z } from 'zod'
import {
  aFlag,
  aFunction,
  anObject,
  aText,
  check,
  expecting,
  listOfTexts,
  optionsSchema,
  wholeFrom,
} from '../common/arguments.js'
import { InputError, quoted, UsageError } from '../common/errors.js'
import { optionName, theOption } from '../common/option-names.js'
import { hubKinds } from '../hub/index.js'
import type { FindOptions } from '../rows/files/data-files.js'
import { kindNamed, ROW_KINDS, type RowKindName } from '../rows/kinds/index.js'
import { ignoredNote, type ReadingOptions, RowReading, readingKinds } from '../rows/reading.js'
import { DEFAULT_MAX_LENGTH, LONG_ROWS, type LongRows, type RowChoices, rowChoiceKinds } from '../rows/row-choices.js'
import { namesOf, type OpenSource, openSources } from '../rows/sources/open.js'
import {
  type AnyRow,
  type DataInput,
  type RecordedSource,
  type RowOf,
  someData,
  sourcesOf,
} from '../rows/sources/source.js'
import { resolveTools } from '../rows/tools.js'
import { json } from '../text/python/text.js'
import { toValue } from '../text/python/values.js'
import { requireNothingForTemplate, resolveTemplate } from '../text/template.js'
import { aTokenizer, type Tokenizer } from '../text/tokenizer.js'
import { cacheKey, defaultCacheFolder, readCache, writeCache } from './examples/dataset-cache.js'
import { checkIds, encodeRow } from './examples/encode.js'
import { type Document, type Example, labelledDocuments } from './examples/example.js'
import type { LongRowCounts } from './examples/long-rows.js'
import { type DataSummary, requireRows, summaryNotes } from './examples/summary.js'
import { rowOf, rowsIn, type TokenArrays, tokensOfRow } from './examples/token-store.js'
import {
  type RowSettings,
  type SourceFacts,
  type TokenisedData,
  type TokeniseProgress,
  tokenise,
  withTargets,
} from './examples/tokenise.js'

/** Options of `loadDataset` for reading and tokenising rows. */
export interface DatasetOptions<Row = AnyRow, Mapped = unknown>
  extends FindOptions,
    ReadingOptions,
    RowChoices<Row, Mapped> {
  /** The model's tokenizer; null if it has none: then only `input_ids` rows can be read. */
  tokenizer: Tokenizer | null
  /** Longest row, in tokens; 1024. */
  maxLength?: number
  /**
   * Treatment of a row with more than `maxLength` tokens. `keep-start` (the default) keeps whole turns from the start,
   * `keep-end` keeps whole turns at the end, `split` makes several rows of a conversation, `drop` leaves the row out, `error`
   * refuses it.
   */
  longRows?: LongRows
  /**
   * Kind of the rows. `pairs`: a prompt with a chosen and a rejected completion, as two documents; `judged`: a completion that is
   * good or bad; `labelled`: a text and its label; `related`: an anchor, a positive text and negative texts. Default
   * `examples`.
   */
  rows?: RowKindName
  /** Names of the labels of `labelled` rows, by number; by default the sorted labels of the rows. */
  labels?: readonly string[] | undefined
  /** `auto` (the model's own, the default), `none`, or the path of a Jinja file. */
  template?: string
  /** `all` also trains the prompt; `completion` (the default) does not. */
  trainOn?: 'completion' | 'all'
  /** Schemas of functions that the model may call, or the path of a JSON file of them. A row's own tools take precedence. */
  tools?: string | readonly unknown[]
  /** Variables of the template, such as `enable_thinking`; a row's own variables take precedence. */
  templateOptions?: Readonly<Record<string, unknown>>
  /** Number of rows of the model's embedding; larger ids are refused. */
  vocabularySize?: number
  /** Keeps rows without any target, and accepts data without any: for inspection, not for training. */
  keepWithoutTarget?: boolean
  /** Folder of the cache of tokenised data; null disables it. By default the user's cache, for data of 256 KiB or more. */
  cacheDir?: string | null
  /** Called repeatedly while rows are tokenised. */
  onProgress?: (progress: TokeniseProgress) => void
}

/** The rows of one source; the rows of earlier sources come first. */
export interface DatasetPart extends SourceFacts {
  /** The part's share of the training rows, relative to the other parts' weights; undefined: each row once per epoch. */
  weight: number | undefined
  /** The path or hub id; for rows from memory, their number and hash. */
  source: RecordedSource
}

/** Rows of token ids in compact arrays. */
export class Dataset {
  readonly #arrays: TokenArrays

  /** sha256, hexadecimal, of all rows and masks, and of the weights if sources are mixed. */
  readonly hash: string

  constructor(
    arrays: TokenArrays,
    /** Counts of rows and tokens, and of rows that were cut or left out. */
    readonly summary: DataSummary,
    hash: string,
    /** The sources that the rows come from, in order; empty if they are not known. */
    readonly parts: readonly DatasetPart[] = [],
    /** Names of labels by number; undefined if the rows are not `labelled`. */
    readonly labels: readonly string[] | undefined = undefined,
  ) {
    this.#arrays = arrays
    const weights = parts.map(({ rows, weight }) => [rows, weight])
    const isMixed = parts.some(({ weight }) => weight !== undefined)
    this.hash = isMixed
      ? createHash('sha256')
          .update(JSON.stringify([hash, weights]))
          .digest('hex')
      : hash
  }

  /** Number of rows. */
  get length(): number {
    return rowsIn(this.#arrays)
  }

  /** Returns a row: views of its documents, valid as long as the data set and read-only, with its label and weight. */
  row(index: number): Example {
    this.#requireRow(index)
    return rowOf(this.#arrays, index)
  }

  /** Returns the number of tokens of a row, in all its documents. */
  rowLength(index: number): number {
    this.#requireRow(index)
    return tokensOfRow(this.#arrays, index)
  }

  #requireRow(index: number): void {
    if (Number.isInteger(index) && index >= 0 && index < this.length) return
    throw new UsageError('bad-value', `Expected a row from 0 to ${this.length - 1} but received ${quoted(index)}.`)
  }
}

const SMALL_DATA_BYTES = 256 * 1024
/**
 * If only the first rows of larger data are requested, the cache is not searched, since hashing takes longer than reading them.
 */
const MOST_SEARCHED_BYTES = 2 ** 28

/**
 * Reads, tokenises and masks data; the result is cached by content. Rows from memory are tokenised one at a time and not kept;
 * rows of an iterable are read once and not cached.
 *
 * ```ts
 * import { loadDataset, loadTokenizer } from 'node-mora'
 *
 * const tokenizer = await loadTokenizer('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const rows = await loadDataset('train.jsonl', { tokenizer, maxLength: 512 })
 * console.log(rows.length, rows.summary.targetTokens)
 * ```
 *
 * @param source a file, a folder, a hub id, `-`, rows (an array, an iterable or an async iterable), or several of these
 * @throws UsageError of missing or unfit sources
 * @throws InputError of malformed rows (file and line), ids past `vocabularySize`, and data in which nothing is trained
 */
export async function loadDataset<Data extends DataInput, Mapped = RowOf<Data>>(
  source: Data,
  options: DatasetOptions<RowOf<Data>, Mapped>,
): Promise<Dataset>
export async function loadDataset(source: DataInput, options: DatasetOptions): Promise<Dataset> {
  return (await loadRows(source, options)).dataset
}

/**
 * Reads at most `limit` rows, or all rows if the data is small or cached. @returns the rows, and whether the data has more of
 * them
 */
export async function loadRows(
  source: DataInput,
  options: DatasetOptions,
  limit?: number,
): Promise<{ dataset: Dataset; isPart: boolean }> {
  check({ source, options }, datasetArguments)
  return loadOpened(await openSources(sourcesOf(source)!, options), options, limit)
}

/** Like `loadRows`, for sources that are open already. */
export async function loadOpened(
  sources: readonly OpenSource[],
  options: DatasetOptions,
  limit?: number,
): Promise<{ dataset: Dataset; isPart: boolean }> {
  const settings = await encodeOptions(options)
  const all = await tokenised(sources, settings, { ...options, limit })
  // Of whole texts no token is predicted.
  const keepsAll = options.keepWithoutTarget && !kindNamed(options.rows)?.compared?.areWhole
  const data = keepsAll ? all : await withTargets(all, { ofWeights: options.keepWithoutTarget ?? false })
  const name = namesOf(sources)
  requireRows(data.summary, name, options)
  // Rows from the cache are not read again.
  const ignored = new Set(data.sources.flatMap((one) => one.ignored))
  const unseen = data.isPart ? [] : (options.ignoreColumns ?? []).filter((column) => !ignored.has(column))
  for (const note of [...summaryNotes(data.summary), ignoredNote(unseen)])
    if (note !== null) options.onWarning?.(`${name}: ${note}`)
  const dataset = new Dataset(data.arrays, data.summary, data.hash, partsOf(sources, data), data.labels)
  return { dataset, isPart: data.isPart }
}

/** Returns tokenised data, from the cache if it is there; stores large data in the cache. */
async function tokenised(
  sources: readonly OpenSource[],
  settings: RowSettings,
  options: DatasetOptions & { limit?: number },
): Promise<TokenisedData> {
  const bytes = sources.reduce((sum, source) => sum + source.bytes, 0)
  const isSmall = bytes > 0 && bytes < SMALL_DATA_BYTES
  const limit = isSmall ? undefined : options.limit
  const folder = options.cacheDir === undefined && bytes >= SMALL_DATA_BYTES ? defaultCacheFolder() : options.cacheDir
  const isSearched = limit === undefined || bytes <= MOST_SEARCHED_BYTES
  const isPlain = !options.map && !options.filter
  const key = folder && isSearched && isPlain ? await cacheKey(sources, keySettings(settings)) : null
  if (!folder || key === null) return tokenise(sources, settings, { ...options, limit })
  const found = await readCache(folder, key)
  // Data with an id past the vocabulary is read again, which names the row.
  if (found && found.highestId < (options.vocabularySize ?? Number.POSITIVE_INFINITY)) return found
  const made = await tokenise(sources, settings, { ...options, limit })
  if (made.isPart) return made
  await writeCache(folder, key, made).catch((error: Error) => {
    options.onWarning?.(`The tokenised data could not be kept in ${folder}: ${error.message}`)
  })
  return made
}

/** Returns the options that affect the tokens, but for functions. */
export function keySettings({
  tokenizer,
  template,
  reading,
  maxLength,
  longRows,
  maxTokens,
  trainOn,
  context,
}: RowSettings): object {
  return {
    tokenizer: tokenizer?.hash ?? null,
    template: template?.hash ?? null,
    reading: reading.options,
    specialTokens: template ? tokenizer?.specialTokens : null,
    maxLength,
    longRows,
    maxTokens,
    trainOn,
    context: context ? json(toValue(context)) : null,
  }
}

function partsOf(sources: readonly OpenSource[], { sources: facts }: TokenisedData): DatasetPart[] {
  return sources.map((source, i) => {
    const found = facts[i]!
    if (source.weight !== undefined && found.rows === 0) {
      throw new InputError(
        'empty-data',
        `${source.name}: there is no row to train, so it can have no share of the rows.`,
      )
    }
    return { ...found, weight: source.weight, source: source.recorded() }
  })
}

/** Schemas of the options that change a row's tokens. */
const rowKinds = {
  tokenizer: aTokenizer.nullable().optional(),
  template: aText.optional(),
  trainOn: z.enum(['completion', 'all']).optional(),
  rows: z.enum(ROW_KINDS).optional(),
  labels: listOfTexts.optional(),
  longRows: z.enum(LONG_ROWS).optional(),
  vocabularySize: wholeFrom(1).optional(),
  ...readingKinds,
  tools: z.union([aText, expecting('a list of schemas', z.array(anObject))]).optional(),
  templateOptions: anObject.optional(),
}

const tokeniseRowArguments = { options: optionsSchema('the options of tokeniseRow', rowKinds) }

const datasetArguments = {
  source: someData,
  options: optionsSchema('the options of loadDataset', {
    ...rowKinds,
    ...rowChoiceKinds,
    keepWithoutTarget: aFlag.optional(),
    cacheDir: aText.nullable().optional(),
    onProgress: aFunction.optional(),
    extensions: listOfTexts.optional(),
    purpose: z.enum(['training', 'evaluation', 'validation']).optional(),
    ...hubKinds,
  }),
}

/** Options of `tokeniseRow`, with the meaning that they have in `loadDataset`. */
export interface TokeniseRowOptions
  extends Pick<
    DatasetOptions,
    | (
        | 'rows'
        | 'labels'
        | 'tokenizer'
        | 'maxLength'
        | 'longRows'
        | 'template'
        | 'trainOn'
        | 'tools'
        | 'templateOptions'
        | 'vocabularySize'
      )
    | ('text' | 'columns' | 'ignoreColumns')
  > {}

/**
 * Tokenises one row as `loadDataset` does; a row without targets is returned too.
 *
 * ```ts
 * import { loadTokenizer, packBatch, tokeniseRow } from 'node-mora'
 *
 * const tokenizer = await loadTokenizer('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const { documents } = await tokeniseRow({ prompt: '2 + 2 =', completion: ' 4' }, { tokenizer, maxLength: 512 })
 * const batch = packBatch(documents.map((document) => ({ ...document, row: 0 })))
 * console.log(batch.ids.length, batch.targetTokens)
 * ```
 *
 * @throws InputError of a malformed row, or an id past `vocabularySize`
 */
export async function tokeniseRow(
  row: object,
  options: TokeniseRowOptions,
): Promise<{
  /**
   * The row's documents, each with `ids`, `mask`, and the row's label and weight if it has them: two for a pair, several for a
   * text or a split conversation longer than `maxLength`, none if `longRows` drops the row, else one.
   */
  documents: readonly (Document & Omit<Example, 'documents'>)[]
  /** Number of tokens before anything was cut. */
  length: number
  /** Counts of what was cut from a row that was too long; absent if the row was short enough. */
  cut?: Partial<LongRowCounts>
}> {
  check({ options }, tokeniseRowArguments)
  const settings = await encodeOptions(options)
  const where = 'the row'
  const { rows, length, cut } = await encodeRow(settings.reading.wanted({ value: row, where }), where, settings)
  const { vocabularySize = Number.POSITIVE_INFINITY } = options
  const documents = rows.flatMap(labelledDocuments)
  for (const { ids } of documents) checkIds(ids, vocabularySize, where)
  return { documents, length, ...(cut && { cut }) }
}

/** Returns the options with their defaults and the loaded template. */
export async function encodeOptions(options: DatasetOptions): Promise<RowSettings> {
  const { tokenizer, maxLength = DEFAULT_MAX_LENGTH, longRows = 'keep-start', maxTokens, map, filter } = options
  const { template = 'auto', trainOn = 'completion' } = options
  if (!Number.isInteger(maxLength) || maxLength < 2) {
    throw new UsageError(
      'bad-option',
      `Expected an integer of at least 2 for ${optionName('maxLength')} but received ${quoted(maxLength)}.`,
    )
  }
  requireFitOfAnswers(options)
  const resolved = tokenizer ? await resolveTemplate(template, tokenizer) : null
  const context = { tools: (await resolveTools(options.tools)) ?? null, templateOptions: options.templateOptions ?? {} }
  if (tokenizer && !resolved) requireNothingForTemplate(context)
  return {
    tokenizer,
    maxLength,
    longRows,
    maxTokens,
    map,
    filter,
    trainOn,
    template: resolved,
    reading: new RowReading(options),
    context,
  }
}

/** Refuses options that only rows with one completion have. @throws UsageError `unfit-options` */
function requireFitOfAnswers({ rows, longRows = 'keep-start', trainOn, text }: DatasetOptions): void {
  const { compared } = kindNamed(rows) ?? {}
  if (!compared) return
  const { areWhole } = compared
  const ofRows = areWhole ? 'rows of whole texts' : 'rows of answers to prompts'
  const refuse = (what: string, why: string) => {
    throw new UsageError('unfit-options', `${what} does not go with ${ofRows}: ${why}.`)
  }
  if (areWhole) {
    if (longRows === 'split')
      refuse(`${optionName('longRows')} ${longRows}`, 'a label applies to the whole text, so it cannot be split')
    if (trainOn === 'all') refuse(`${optionName('trainOn')} all`, 'no token of them is predicted')
    if (text !== undefined) refuse(optionName('text'), `name their columns (${theOption('columns')})`)
    return
  }
  if (longRows === 'keep-end' || longRows === 'split')
    refuse(`${optionName('longRows')} ${longRows}`, 'all answers keep the same prompt')
  if (trainOn === 'all') refuse(`${optionName('trainOn')} all`, 'only answers are compared')
  if (text !== undefined) refuse(optionName('text'), `name their columns (${theOption('columns')})`)
}
