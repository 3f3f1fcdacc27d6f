/** Converts rows of sources to token ids. */
import { about, InputError } from '../../common/errors.js'
import { isTooLarge } from '../../common/foreign-errors.js'
import { mapAhead } from '../../common/task-limit.js'
import { LoopTurn } from '../../common/time-limit.js'
import { type RowReading, SourceAccount } from '../../rows/reading.js'
import { charactersOf, type DataRecord } from '../../rows/record.js'
import { chosenRecord, type RowChoices } from '../../rows/row-choices.js'
import type { OpenSource } from '../../rows/sources/open.js'
import { checkIds, type EncodedRow, type EncodeOptions, encodeRow } from './encode.js'
import { countTargets, countTokens, type Example } from './example.js'
import {
  addChat,
  addLength,
  type DataSummary,
  emptySummary,
  type LengthCounts,
  noLengths,
  SpecialTargets,
} from './summary.js'
import { hashArrays, rowOf, type TokenArrays, TokenStore } from './token-store.js'

/** All rows of some sources, also those in which nothing is trained. */
export interface TokenisedData {
  arrays: TokenArrays
  /** Names of the rows' labels by number, where rows have labels. */
  labels?: string[] | undefined
  summary: DataSummary
  /** sha256, hexadecimal, of all rows and masks. */
  hash: string
  sources: SourceFacts[]
  highestId: number
  /** Whether reading ended at a limit. */
  isPart: boolean
}

/** Counts of a source's rows, and the columns that were read. */
export interface SourceFacts extends LengthCounts {
  /** Rows as they were read. */
  read: number
  /** Rows of tokens. */
  rows: number
  /** The form of its rows, or several with commas; empty without any. */
  form: string
  /** Columns that were read. */
  columns: string[]
  /** Columns that were not read. */
  ignored: string[]
}

/** Settings for reading, filtering and encoding rows. */
export interface RowSettings extends EncodeOptions, RowChoices {
  reading: RowReading
}

/** Progress of tokenising rows. */
export interface TokeniseProgress {
  /** Rows so far, as they are read. */
  rows: number
  /** Tokens so far. */
  tokens: number
  /** The part of the files' bytes that was read, if it is known: from 0 to 1. */
  share?: number
}

interface TokeniseOptions {
  vocabularySize?: number
  /** Only this many rows are read. */
  limit?: number
  signal?: AbortSignal
  onProgress?: (progress: TokeniseProgress) => void
}

/** Records between two calls of `onProgress`. */
export const PROGRESS_EVERY = 256
/** Rows, and about how many characters of theirs, that are tokenised while those before them are stored. */
const ROWS_AHEAD = 384
export const CHARACTERS_AHEAD = 2 ** 22

/** @throws InputError for malformed rows (with file and line), and for ids past `vocabularySize` */
export async function tokenise(
  sources: readonly OpenSource[],
  settings: RowSettings,
  options: TokeniseOptions,
): Promise<TokenisedData> {
  const store = new TokenStore()
  const specialTargets = new SpecialTargets(settings.tokenizer)
  const summary = emptySummary()
  const facts: SourceFacts[] = []
  let lengths = noLengths()
  let read = 0
  let highestId = -1
  const progress = (): TokeniseProgress => ({ rows: read, tokens: summary.tokens, share: shareOf(sources) })
  const take = (encoded: EncodedRow | null, where: string): void => {
    if (++read % PROGRESS_EVERY === 0) options.onProgress?.(progress())
    if (!encoded) {
      summary.filtered++
      return
    }
    addLength(summary, encoded)
    addLength(lengths, encoded)
    if (encoded.chat) addChat(summary, encoded.chat, where)
    if (encoded.leftOut) summary.first.leftOut ??= where
    for (const row of encoded.rows) {
      for (const { ids } of row.documents) {
        if (options.vocabularySize !== undefined) checkIds(ids, options.vocabularySize, where)
        for (const id of ids) highestId = Math.max(highestId, id)
      }
      const targets = countTargets(row.documents)
      if (targets === 0) summary.withoutTarget++
      store.push(row)
      summary.tokens += countTokens(row.documents)
      summary.targetTokens += targets
      specialTargets.add(row)
    }
  }
  const ending = new AbortController()
  const signal = AbortSignal.any([ending.signal, ...(options.signal ? [options.signal] : [])])
  const own = { ...settings, signal }
  let characters = 0
  let left = options.limit ?? Number.POSITIVE_INFINITY
  const turn = new LoopTurn()
  const records = async function* (source: OpenSource) {
    if (left === 0) return
    for await (const record of source.records()) {
      yield record
      if (--left === 0) return
      await turn.end()
    }
  }
  try {
    for (const source of sources) {
      const before = store.length
      const account = new SourceAccount()
      const readBefore = read
      lengths = noLengths()
      const encode = async (record: DataRecord) => {
        const size = charactersOf(record)
        characters += size
        const chosen = await chosenRecord(record, own)
        return { encoded: chosen && (await encodedRecord(chosen, own, account)), record, size }
      }
      const ahead = () => (source.readsAhead && characters < CHARACTERS_AHEAD ? ROWS_AHEAD : 0)
      for await (const { encoded, record, size } of mapAhead(records(source), ahead, encode)) {
        signal.throwIfAborted()
        characters -= size
        take(encoded, record.where)
      }
      const { form, columns, ignored } = account
      facts.push({ read: read - readBefore, rows: store.length - before, form, columns, ignored, ...lengths })
    }
  } finally {
    // After a failure, the rows behind it are not needed.
    ending.abort()
  }
  options.onProgress?.(progress())
  summary.rows = store.length
  summary.trainedSpecialTokens = specialTargets.counts()
  const arrays = await store.finish()
  const { labels } = settings.reading
  if (labels && arrays.labels) labels.sort(arrays.labels)
  const hash = await hashArrays(arrays)
  return { arrays, labels: labels?.names, summary, hash, sources: facts, highestId, isPart: left === 0 }
}

/** Returns the data without the rows in which nothing is trained, or only without the rows of weight 0. */
export async function withTargets(data: TokenisedData, { ofWeights = false } = {}): Promise<TokenisedData> {
  const isKept = ({ documents, weight }: Example) => (ofWeights ? weight !== 0 : countTargets(documents) > 0)
  if (ofWeights ? !data.arrays.weights?.includes(0) : data.summary.withoutTarget === 0) return data
  const store = new TokenStore()
  const sources: SourceFacts[] = []
  const turn = new LoopTurn()
  let row = 0
  for (const source of data.sources) {
    const before = store.length
    for (const end = row + source.rows; row < end; row++) {
      const own = rowOf(data.arrays, row)
      if (isKept(own)) store.push(own)
      await turn.end()
    }
    sources.push({ ...source, rows: store.length - before })
  }
  const arrays = await store.finish()
  const dropped = row - store.length
  const summary = { ...data.summary, rows: store.length, tokens: arrays.ids.length, dropped }
  return { ...data, arrays, summary, hash: await hashArrays(arrays), sources }
}

/** Returns the part of the sources' bytes that was read; undefined if it is not known of each. */
function shareOf(sources: readonly OpenSource[]): number | undefined {
  if (sources.some(({ bytes, bytesRead }) => bytes === 0 || bytesRead === undefined)) return undefined
  const sum = (counts: readonly number[]) => counts.reduce((all, count) => all + count, 0)
  return sum(sources.map(({ bytesRead }) => bytesRead!)) / sum(sources.map(({ bytes }) => bytes))
}

/**
 * Encodes a record; one of more than `maxTokens` has no rows. The error of one that is too large for the tokenizer, or for a list of
 * ids, names it.
 */
export async function encodedRecord(
  record: DataRecord,
  settings: RowSettings,
  account: SourceAccount,
): Promise<EncodedRow> {
  const { where } = record
  try {
    const encoded = await encodeRow(settings.reading.wanted(record, account), where, settings)
    const { length } = encoded
    const isLeftOut = settings.maxTokens !== undefined && length > settings.maxTokens
    return isLeftOut ? { rows: [], length, cut: { over: 1 } } : encoded
  } catch (error) {
    if (error instanceof InputError && error.code === 'too-large') throw about(where, error)
    if (!isTooLarge(error)) throw error
    throw new InputError('too-large', `${where} is larger than what can be held at a time: make it several rows.`, {
      cause: error,
    })
  }
}
