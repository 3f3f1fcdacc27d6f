import { createHash } from 'node:crypto'
import { InputError, UsageError } from '../../common/errors.js'
import { optionName, theOption } from '../../common/option-names.js'
import { counted } from '../../common/printable.js'
import { randomStream } from '../../common/random.js'
import { mapAhead } from '../../common/task-limit.js'
import { LoopTurn } from '../../common/time-limit.js'
import { SourceAccount } from '../../rows/reading.js'
import { charactersOf, type DataRecord } from '../../rows/record.js'
import { chosenRecord } from '../../rows/row-choices.js'
import { isOfUnknownLength, namesOf, type OpenSource } from '../../rows/sources/open.js'
import { checkIds } from '../examples/encode.js'
import { countTargets, type Example } from '../examples/example.js'
import {
  addChat,
  addLength,
  emptySummary,
  type LengthCounts,
  noLengths,
  requireRows,
  untrainedReasons,
} from '../examples/summary.js'
import {
  CHARACTERS_AHEAD,
  encodedRecord,
  PROGRESS_EVERY,
  type RowSettings,
  type SourceFacts,
  type TokeniseProgress,
} from '../examples/tokenise.js'
import type { LanePlace } from '../place.js'
import { MOST_BUFFERED, shuffled } from './shuffle-buffer.js'

interface LaneOptions {
  settings: RowSettings
  vocabularySize?: number
  seed: number | bigint
  /** Index of the lane, which gives each lane a random order of its own. */
  index: number
  /** Size of the buffer from which the next record is drawn; null: records are in order. */
  shuffleBuffer: number | null
  /** Number of records that are tokenised ahead, with which the buffer begins. */
  ahead: number
  /** Whether records before the place must be unchanged since it was noted. */
  isVerified: boolean
  /** Called once for each source, with the account of its first row. */
  onFirstRow?: (source: OpenSource, account: SourceAccount) => void
  /** Called repeatedly while rows are read. */
  onProgress?: (progress: TokeniseProgress) => void
}

/**
 * Maximum number of consecutive records without a target in a source that may have no end: left out by `filter`, or tokenised,
 * which takes longer.
 */
const MOST_UNTRAINED = { filtered: 100_000, tokenised: 10_000 }

/** Counts of one source's rows so far. */
interface SourceCounts {
  readonly source: OpenSource
  /** Records that were read. */
  read: number
  /** Rows of tokens. */
  rows: number
  readonly account: SourceAccount
  readonly lengths: LengthCounts
}

/** A record, and the counts of the source that it comes from. */
interface SourceRecord {
  record: DataRecord
  /** Characters of the record. */
  size: number
  counts: SourceCounts
}

interface DrawnRecord extends SourceRecord {
  /** Number of records of this pass that were drawn earlier. */
  records: number
  /** sha256 of the records of this pass up to this one. */
  sha256: string
}

/** Sources whose rows are drawn together: all sources of a run without weights, or one source with a weight. */
export class Lane {
  readonly #sources: readonly OpenSource[]
  readonly #options: LaneOptions
  readonly #counts: readonly SourceCounts[]
  readonly #mayBeEndless: boolean
  /** Number of records since the last one with a target. */
  #untrained = { filtered: 0, tokenised: 0 }
  /** Counts of the rows so far, including rows read ahead. */
  readonly summary = emptySummary()

  constructor(sources: readonly OpenSource[], options: LaneOptions) {
    this.#sources = sources
    this.#options = options
    this.#counts = sources.map((source) => ({
      source,
      read: 0,
      rows: 0,
      account: new SourceAccount(),
      lengths: noLengths(),
    }))
    this.#mayBeEndless = sources.some(isOfUnknownLength)
  }

  get name(): string {
    return namesOf(this.#sources)
  }

  /** The share of the rows relative to other lanes. */
  get weight(): number {
    return this.#sources[0]!.weight ?? 1
  }

  /** Whether rows end with the first pass because a source can be read only once. */
  get isReadOnce(): boolean {
    return this.#sources.some(({ isReadOnce }) => isReadOnce)
  }

  /** Counts of each source's rows so far, including rows read ahead. */
  get facts(): SourceFacts[] {
    return this.#counts.map(({ read, rows, account: { form, columns, ignored }, lengths }) => {
      return { read, rows, form, columns, ignored, ...lengths }
    })
  }

  /**
   * Yields the rows after a place, each with the place after it, pass after pass; only one pass if a source can be read only once or stops the run.
   * @throws InputError `empty-data`, `nothing-to-train`, and of malformed rows
   * @throws UsageError `changed-run` if the records before the place have changed
   */
  async *rows(from: LanePlace): AsyncGenerator<{ row: Example; place: LanePlace }> {
    let { taken } = from
    const ends = this.isReadOnce || this.#sources.some(({ stops }) => stops)
    for (let pass = from.pass; pass === from.pass || !ends; pass++) {
      const before = taken
      const isResumed = pass === from.pass && from.sha256 !== ''
      const drawn = this.#drawn(pass)
      for (let i = 0; isResumed && i < from.records && !(await drawn.next()).done; i++) this.#noteTrained()
      let isFound = !isResumed || !this.#options.isVerified
      for await (const { rows, records, sha256 } of this.#encoded(drawn)) {
        const isCurrent = isResumed && records === from.records
        if (isCurrent) isFound ||= sha256 === from.sha256
        if (!isFound) throw this.#changed()
        for (const [i, row] of rows.entries()) {
          if (isCurrent && i < from.rows) continue
          taken++
          yield { row, place: { taken, pass, records, rows: i + 1, sha256 } }
        }
      }
      if (!isFound) throw this.#changed()
      if (taken === before && !isResumed) this.#refuseEmpty(pass)
    }
  }

  /** Yields the records of a pass in the order in which they are trained. */
  async *#drawn(pass: number): AsyncGenerator<DrawnRecord> {
    const { seed, index, shuffleBuffer: size, ahead: first } = this.#options
    const all = this.#records()
    const random = randomStream(seed, 'stream', index, pass)
    const bounds = { most: MOST_BUFFERED, sizeOf: (one: SourceRecord) => one.size }
    let records = 0
    let sha256 = ''
    for await (const one of size === null ? all : shuffled(all, { size, first, random, ...bounds })) {
      // The hash is of what `map` returned, so that another function is noticed.
      sha256 = createHash('sha256').update(sha256).update(textOf(one.record)).digest('hex')
      yield { ...one, records: records++, sha256 }
    }
  }

  /** Yields the records that `filter` keeps, as `map` returns them. */
  async *#records(): AsyncGenerator<SourceRecord> {
    const turn = new LoopTurn()
    const { settings, onProgress } = this.#options
    for (const [i, source] of this.#sources.entries()) {
      const counts = this.#counts[i]!
      for await (const record of source.records()) {
        settings.signal?.throwIfAborted()
        if (++counts.read % PROGRESS_EVERY === 0) onProgress?.(this.#progress)
        const chosen = await chosenRecord(record, settings)
        if (chosen) yield { record: chosen, size: charactersOf(chosen), counts }
        else {
          this.summary.filtered++
          this.#noteUntrained('filtered')
        }
        await turn.end()
      }
    }
  }

  get #progress() {
    return { rows: this.#counts.reduce((sum, { read }) => sum + read, 0), tokens: this.summary.tokens }
  }

  #noteTrained(): void {
    this.#untrained = { filtered: 0, tokenised: 0 }
  }

  /** @throws InputError `nothing-to-train` after many rows without a target, since a source without an end may never have one */
  #noteUntrained(why: keyof typeof MOST_UNTRAINED): void {
    const count = ++this.#untrained[why]
    if (!this.#mayBeEndless || count < MOST_UNTRAINED[why]) return
    throw new InputError(
      'nothing-to-train',
      `${this.name}: nothing would be trained in ${counted(count, 'row')} one after the other (${untrainedReasons(this.summary)}), so no more are read.`,
    )
  }

  /** Yields the rows of tokens of each record, without those in which nothing is trained. */
  async *#encoded(drawn: AsyncIterable<DrawnRecord>) {
    const { settings, vocabularySize, ahead, onFirstRow } = this.#options
    let characters = 0
    const encodedAhead = mapAhead(
      drawn,
      () => (characters < CHARACTERS_AHEAD ? ahead : 0),
      async ({ record, size, counts, records, sha256 }) => {
        characters += size
        const isFirst = counts.account.form === ''
        const encoded = await encodedRecord(record, settings, counts.account)
        if (isFirst && counts.rows === 0) onFirstRow?.(counts.source, counts.account)
        addLength(counts.lengths, encoded)
        addLength(this.summary, encoded)
        if (encoded.chat) addChat(this.summary, encoded.chat, record.where)
        if (encoded.leftOut) this.summary.first.leftOut ??= record.where
        const rows = encoded.rows.filter(({ documents }) => countTargets(documents) > 0)
        this.summary.withoutTarget += encoded.rows.length - rows.length
        this.summary.dropped = this.summary.withoutTarget
        for (const { ids } of rows.flatMap(({ documents }) => documents)) {
          if (vocabularySize !== undefined) checkIds(ids, vocabularySize, record.where)
          this.summary.tokens += ids.length
        }
        if (rows.length > 0) this.#noteTrained()
        else this.#noteUntrained('tokenised')
        counts.rows += rows.length
        return { rows, records, sha256, size }
      },
    )
    for await (const one of encodedAhead) {
      characters -= one.size
      yield one
    }
  }

  #changed(): UsageError {
    return new UsageError(
      'changed-run',
      `${this.name}: the rows that the run has already consumed have changed: restore them, start a new run, or allow the change with ${theOption('allowChanges', ['data'])}.`,
    )
  }

  /** @throws InputError `empty-data`, `nothing-to-train` of the first pass; UsageError `empty-data` of a later one */
  #refuseEmpty(pass: number): void {
    if (pass === 0) requireRows(this.summary, this.name)
    throw new UsageError(
      'empty-data',
      `${this.name}: there was no row when it was read again: give rows that can be read again, or fewer ${optionName('maxSteps')}.`,
    )
  }
}

/**
 * Returns a text that distinguishes records.
 * @throws InputError `malformed-row` for what cannot be JSON
 */
function textOf({ json, value, where }: DataRecord): string {
  try {
    return json ?? JSON.stringify(value, (_, one) => (typeof one === 'bigint' ? `${one}n` : one)) ?? ''
  } catch (cause) {
    throw new InputError('malformed-row', `${where}: what map returned cannot be written as JSON.`, { cause })
  }
}
