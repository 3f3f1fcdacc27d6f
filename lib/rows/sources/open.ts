/** Opens sources for reading. */
import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { InputError, UsageError } from '../../common/errors.js'
import { sha256File } from '../../io/atomic.js'
import { type DataFile, type FindOptions, findDataFiles } from '../files/data-files.js'
import { readRecords } from '../files/readers.js'
import { charactersOf, type DataRecord } from '../record.js'
import {
  type DataSource,
  isReadOnce,
  type PathSource,
  type RecordedSource,
  type RowSource,
  sourceWeight,
} from './source.js'

export interface OpenSource {
  /** Name of the source in messages. */
  readonly name: string
  readonly weight: number | undefined
  /** Known size in bytes. */
  readonly bytes: number
  /** Bytes that were read so far; undefined if they are not counted. */
  readonly bytesRead?: number
  /** Whether rows may be read before they are used; false for an iterable, which may be a user's generator. */
  readonly readsAhead: boolean
  /** Whether rows can be read only once. */
  readonly isReadOnce: boolean
  /** Whether a run ends with the last row. */
  readonly stops: boolean
  /** Returns a hash of the rows before they are read; null if they can be read only once. */
  digest(): Promise<string | null>
  records(): AsyncIterable<DataRecord>
  /**
   * Tells whether there are more than `count` records, or very large ones. The records that it reads are the first ones of
   * `records`.
   */
  hasMoreThan(count: number): Promise<boolean>
  /** Returns the source in the form that a run records; rows from memory must have been read. */
  recorded(): RecordedSource
}

/**
 * Finds files, downloads data of the hub, and reads arrays once, unless they become a stream. Iterables are not touched before they
 * are read.
 * @throws UsageError `missing-data`, `unfit-options` for weights, and what `findDataFiles` throws
 */
export async function openSources(
  sources: readonly DataSource[],
  options: FindOptions = {},
  { isStream = false } = {},
): Promise<readonly OpenSource[]> {
  if (sources.length === 0) {
    throw new UsageError('missing-data', 'No data was named; give a file, a folder, an id, - or rows.')
  }
  const without = sources.filter((source) => sourceWeight(source) === undefined).length
  if (without > 0 && without < sources.length) {
    throw new UsageError(
      'unfit-options',
      `${without} of the ${sources.length} sources of data have no weight: give each of them one, or none.`,
    )
  }
  const open: OpenSource[] = []
  for (const [i, source] of sources.entries()) {
    if (typeof source !== 'string' && 'rows' in source) {
      const name = sources.length === 1 ? 'the rows given' : `the rows given (source ${i + 1})`
      const isHashed = Array.isArray(source.rows) && !isStream
      open.push(isHashed ? await OpenRows.ofArray(name, source) : new OpenRows(name, source))
    } else {
      const path = typeof source === 'string' ? source : source.path
      open.push(new OpenFiles(path, source, await findDataFiles(path, options)))
    }
  }
  return open
}

/** Whether a source is standard input or an iterable other than an array. */
export const isOfUnknownLength = ({ isReadOnce, readsAhead }: OpenSource): boolean => isReadOnce || !readsAhead

/** Joins the names of sources, for messages. */
export const namesOf = (sources: readonly OpenSource[]): string => sources.map(({ name }) => name).join(', ')

/** Maximum number of characters that `hasMoreThan` reads. */
const MOST_BEGUN = 2 ** 27

/** Records, beginning with the ones that were read before. */
abstract class Records {
  #begun: { first: readonly DataRecord[]; rest: AsyncIterator<DataRecord> } | null = null

  protected abstract read(): AsyncIterable<DataRecord>

  async hasMoreThan(count: number): Promise<boolean> {
    const rest = this.read()[Symbol.asyncIterator]()
    const first: DataRecord[] = []
    this.#begun = { first, rest }
    for (let characters = 0; first.length <= count && characters < MOST_BEGUN; ) {
      const { done, value } = await rest.next()
      if (done) return false
      first.push(value)
      characters += charactersOf(value)
    }
    return true
  }

  async *records(): AsyncGenerator<DataRecord> {
    const begun = this.#begun
    this.#begun = null
    if (!begun) return yield* this.read()
    try {
      yield* begun.first
      yield* { [Symbol.asyncIterator]: () => begun.rest }
    } finally {
      await begun.rest.return?.()
    }
  }
}

class OpenFiles extends Records implements OpenSource {
  readonly #source: PathSource
  readonly #files: readonly DataFile[]

  readonly weight: number | undefined
  readonly bytes: number
  bytesRead = 0
  readonly readsAhead = true
  readonly isReadOnce: boolean
  readonly stops: boolean

  constructor(
    readonly name: string,
    source: PathSource,
    files: readonly DataFile[],
  ) {
    super()
    this.#source = source
    this.#files = files
    this.weight = sourceWeight(source)
    this.stops = typeof source !== 'string' && source.stop === true
    this.isReadOnce = files.some(({ path }) => path === '-')
    this.bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  }

  async digest(): Promise<string | null> {
    if (this.isReadOnce) return null
    const digests: string[] = []
    for (const { path, format, compression } of this.#files) {
      digests.push([format, compression, await sha256File(path)].filter(Boolean).join(' '))
    }
    return digests.join('\n')
  }

  protected read(): AsyncIterable<DataRecord> {
    return readRecords(this.#files, (bytes) => {
      this.bytesRead += bytes
    })
  }

  recorded(): RecordedSource {
    return this.#source
  }
}

/** Number of rows from memory that are read in one turn of the event loop. */
const TURN_EVERY = 256

/** Rows from memory, which are hashed one at a time and not kept. */
class OpenRows extends Records implements OpenSource {
  readonly #source: RowSource

  bytes = 0
  readonly weight: number | undefined
  readonly readsAhead: boolean
  readonly isReadOnce: boolean
  readonly stops: boolean
  #rows = 0
  #hash = createHash('sha256')
  /** The hash of all rows, once they have been read. */
  #sha256: string | undefined

  constructor(
    readonly name: string,
    source: RowSource,
  ) {
    super()
    this.#source = source
    this.weight = source.weight
    this.readsAhead = Array.isArray(source.rows)
    this.isReadOnce = isReadOnce(source.rows)
    this.stops = source.stop === true
  }

  /** Hashes an array before it is read, so that its tokens can be found in the cache. */
  static async ofArray(name: string, source: RowSource): Promise<OpenRows> {
    const found = new OpenRows(name, source)
    for await (const _ of found.records());
    return found
  }

  async digest(): Promise<string | null> {
    return this.#sha256 === undefined ? null : `rows ${this.#sha256}`
  }

  protected async *read(): AsyncGenerator<DataRecord> {
    const isHashed = this.#sha256 !== undefined
    let row = 0
    for await (const value of this.#source.rows) {
      const where = `row ${++row} of ${this.name}`
      if (!isHashed) this.#take(value, where)
      yield { value, where }
      // Lets other work of the process continue, as while a file is read.
      if (row % TURN_EVERY === 0) await setImmediate()
    }
    if (isHashed) return
    this.#rows = row
    this.#sha256 = this.#hash.digest('hex')
  }

  #take(value: unknown, where: string): void {
    let line: string
    try {
      line = `${JSON.stringify(value)}\n`
    } catch (cause) {
      throw new InputError('malformed-row', `${where}: it cannot be written as JSON.`, { cause })
    }
    this.#hash.update(line)
    this.bytes += Buffer.byteLength(line)
  }

  recorded(): RecordedSource {
    const { weight } = this
    return { rows: this.#rows, sha256: this.#sha256 ?? '', ...(weight !== undefined && { weight }) }
  }
}
