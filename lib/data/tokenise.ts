/** Converts rows of sources to token ids, one row at a time. */
import { about, InputError } from '../common/errors.js'
import { isTooLarge } from '../common/foreign-errors.js'
import { mapAhead } from '../common/task-limit.js'
import { checkIds, countTargets, type EncodedRow, type EncodeOptions, encodeRow } from './encode.js'
import { type RowReading, SourceAccount } from './rows/reading.js'
import type { DataRecord } from './rows/record.js'
import type { OpenSource } from './sources/open.js'
import { addChat, addLength, type DataSummary, emptySummary, type LengthCounts, noLengths } from './summary.js'
import { hashArrays, type TokenArrays, TokenStore } from './token-store.js'

export interface TokenisedData {
  arrays: TokenArrays
  summary: DataSummary
  /** sha256, hexadecimal, of all rows and masks. */
  hash: string
  sources: SourceFacts[]
}

/** What became of a source's rows. */
export interface SourceFacts extends LengthCounts {
  /** Rows of tokens. */
  rows: number
  /** The form of its rows, or several with commas; empty without any. */
  form: string
  /** Columns that were read. */
  columns: string[]
  /** Columns that were not read. */
  ignored: string[]
}

/** How rows are read and encoded. */
export interface RowSettings extends EncodeOptions {
  reading: RowReading
}

export interface TokeniseOptions {
  vocabularySize?: number
  keepWithoutTarget?: boolean
  signal?: AbortSignal
  onProgress?: (progress: { rows: number; tokens: number }) => void
}

const PROGRESS_EVERY = 256
/** Rows that are rendered while those before them are tokenised. */
const ROWS_AHEAD = 16

/** @throws InputError for malformed rows (with file and line), and for ids past `vocabularySize` */
export async function tokenise(
  sources: readonly OpenSource[],
  settings: RowSettings,
  options: TokeniseOptions,
): Promise<TokenisedData> {
  const store = new TokenStore()
  const { tokenizer } = settings
  const specialCounts = new Map<number, number>()
  const specialIds = tokenizer?.specialIds ?? new Set<number>()
  const summary = emptySummary()
  const facts: SourceFacts[] = []
  let lengths = noLengths()
  let read = 0
  const take = (encoded: EncodedRow, where: string): void => {
    addLength(summary, encoded)
    addLength(lengths, encoded)
    if (encoded.chat) addChat(summary, encoded.chat, where)
    for (const row of encoded.rows) {
      if (options.vocabularySize !== undefined) checkIds(row.ids, options.vocabularySize, where)
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
  const ending = new AbortController()
  const signal = AbortSignal.any([ending.signal, ...(options.signal ? [options.signal] : [])])
  const own = { ...settings, signal }
  try {
    for (const source of sources) {
      const before = store.length
      const account = new SourceAccount()
      lengths = noLengths()
      const encode = async (record: DataRecord) => ({ encoded: await encodedRecord(record, own, account), record })
      for await (const { encoded, record } of mapAhead(source.records(), source.readsAhead ? ROWS_AHEAD : 0, encode)) {
        signal.throwIfAborted()
        take(encoded, record.where)
      }
      const { form, columns, ignored } = account
      facts.push({ rows: store.length - before, form, columns, ignored, ...lengths })
    }
  } finally {
    // After a failure nobody waits for the rows behind it.
    ending.abort()
  }
  options.onProgress?.({ rows: read, tokens: summary.tokens })
  summary.rows = store.length
  summary.trainedSpecialTokens = [...specialCounts]
    .sort(([a], [b]) => a - b)
    .map(([id, count]) => ({ id, token: tokenizer?.tokenOf(id) ?? '', count }))
  const arrays = store.finish()
  return { arrays, summary, hash: hashArrays(arrays), sources: facts }
}

/** Encodes a record; the error of one that is too large for the tokenizer, or for a list of ids, names it. */
async function encodedRecord(record: DataRecord, settings: RowSettings, account: SourceAccount): Promise<EncodedRow> {
  const { where } = record
  try {
    return await encodeRow(settings.reading.training(record, account), where, settings)
  } catch (error) {
    if (error instanceof InputError && error.code === 'too-large') throw about(where, error)
    if (!isTooLarge(error)) throw error
    throw new InputError('too-large', `${where} is larger than what can be held at a time: make it several rows.`, {
      cause: error,
    })
  }
}
