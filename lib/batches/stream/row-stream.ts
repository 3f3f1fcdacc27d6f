/** Steps over streamed rows. */
import { createHash } from 'node:crypto'
import { unlessAborted } from '../../common/cancellation.js'
import type { RowReading } from '../../rows/reading.js'
import { namesOf, type OpenSource } from '../../rows/sources/open.js'
import { describeSource, type RecordedSource } from '../../rows/sources/source.js'
import { type DatasetOptions, type DatasetPart, encodeOptions, keySettings } from '../dataset.js'
import type { Example } from '../examples/example.js'
import { describeReading } from '../examples/report.js'
import { summaryNotes } from '../examples/summary.js'
import { BEGINNING, type StreamPlace } from '../place.js'
import type { StepRow, StepRows } from '../step-rows.js'
import { Lane } from './lane.js'
import { FIRST_STEPS } from './shuffle-buffer.js'

export interface StreamOptions {
  batchSize: number
  maxSteps: number
  seed: number | bigint
  shuffle: boolean
  /** Size of the buffer from which the next record is drawn, if `shuffle`. */
  shuffleBuffer: number
  rank: number
  size: number
  signal?: AbortSignal
  /** The place to begin at; by default the start. */
  place?: StreamPlace | null
  /** The step that begins at the place. */
  step?: number
  /** Whether changed rows before the place are refused; default true. */
  isVerified?: boolean
}

/** All rows of a step, over all ranks. */
interface ReadStep {
  rows: readonly Example[]
  /** The place after the rows. */
  place: StreamPlace
  /** The lane whose rows have ended before the step was full; null if none has. */
  ended: Lane | null
}

/**
 * Reads rows in one order for all ranks; each rank takes its own rows. The rows of the next step are read and tokenised while a
 * step is computed. Each source with a weight is a lane: the next row comes from the lane that is furthest behind its share.
 */
export class RowStream implements StepRows {
  readonly #sources: readonly OpenSource[]
  readonly #lanes: readonly Lane[]
  readonly #reading: RowReading
  readonly #iterators: readonly ReturnType<Lane['rows']>[]
  readonly #options: StreamOptions
  readonly #ending: AbortController
  /** The place after the rows that were read, including the rows of the next step. */
  #readTo: StreamPlace
  #place: StreamPlace
  #next: Promise<ReadStep> | null = null
  #ended: Lane | null = null
  #totalSteps: number
  #first: ReadStep = { rows: [], place: [], ended: null }

  private constructor(
    sources: readonly OpenSource[],
    lanes: readonly Lane[],
    /** A hash of the settings. The records themselves are compared when a run is resumed. */
    readonly hash: string,
    reading: RowReading,
    ending: AbortController,
    options: StreamOptions,
  ) {
    const { place, maxSteps } = options
    this.#sources = sources
    this.#lanes = lanes
    this.#reading = reading
    this.#options = options
    this.#ending = ending
    this.#totalSteps = maxSteps
    this.#place = place?.length === lanes.length ? place : lanes.map(() => BEGINNING)
    this.#readTo = this.#place
    this.#iterators = lanes.map((lane, i) => lane.rows(this.#place[i]!))
  }

  /**
   * Reads the rows of the first step.
   * @throws what `Lane.rows` throws
   */
  static async open(
    sources: readonly OpenSource[],
    rowOptions: DatasetOptions,
    options: StreamOptions,
  ): Promise<RowStream> {
    const ending = new AbortController()
    const { signal, seed, batchSize, shuffle, shuffleBuffer } = options
    const signals = [ending.signal, ...(signal ? [signal] : [])]
    const settings = { ...(await encodeOptions(rowOptions)), signal: AbortSignal.any(signals) }
    const isMixed = sources.some(({ weight }) => weight !== undefined)
    const lanes = (isMixed ? sources.map((source) => [source]) : [sources]).map(
      (own, index) =>
        new Lane(own, {
          settings,
          vocabularySize: rowOptions.vocabularySize,
          seed,
          index,
          shuffleBuffer: shuffle ? shuffleBuffer : null,
          ahead: FIRST_STEPS * batchSize,
          isVerified: options.isVerified ?? true,
          onFirstRow: (source, account) =>
            rowOptions.onWarning?.(`${describeSource(recordOf(source))}: rows as ${describeReading(account)}.`),
          onProgress: rowOptions.onProgress,
        }),
    )
    const facts = sources.map(({ weight, bytes, bytesRead }) => [weight, bytesRead === undefined ? 0 : bytes])
    const hash = createHash('sha256')
      .update(JSON.stringify(['stream', keySettings(settings), facts]))
      .digest('hex')
    const stream = new RowStream(sources, lanes, hash, settings.reading, ending, options)
    try {
      await stream.prepare(options.step ?? 0)
      if (stream.#next) stream.#first = await stream.#next
      return stream
    } catch (error) {
      stream.close()
      throw error
    }
  }

  /** The rows of the first step, of all ranks, and the place after them. */
  get first(): Pick<ReadStep, 'rows' | 'place'> {
    return this.#first
  }

  get totalSteps(): number {
    return this.#totalSteps
  }

  get place(): StreamPlace {
    return this.#place
  }

  /** The parts of the sources that were read so far. */
  get parts(): DatasetPart[] {
    const facts = this.#lanes.flatMap((lane) => lane.facts)
    return this.#sources.map((source, i) => ({ ...facts[i]!, weight: source.weight, source: recordOf(source) }))
  }

  /** Returns notes for the user about the rows so far. */
  notes(): string[] {
    const { ignoredNote } = this.#reading
    return [
      ...this.#lanes.flatMap((lane) => summaryNotes(lane.summary).map((note) => `${lane.name}: ${note}`)),
      ...(ignoredNote === null ? [] : [`${namesOf(this.#sources)}: ${ignoredNote}`]),
    ]
  }

  async prepare(step: number): Promise<string | null> {
    if (step >= this.#totalSteps) return null
    this.#next ??= this.#readStep()
    const { rows, ended } = await unlessAborted(this.#next, this.#options.signal)
    if (rows.length > 0 || !ended) return null
    this.#totalSteps = step
    const why = ended.isReadOnce ? 'they can be read only once' : 'it says stop'
    return `The rows of ${ended.name} end after step ${step} of ${this.#options.maxSteps}, and ${why}: the run ends there.`
  }

  async rowsOfStep(step: number): Promise<StepRow[]> {
    await this.prepare(step)
    if (!this.#next) return []
    const { rows, place } = await this.#next
    const { rank, size } = this.#options
    this.#place = place
    this.#next = step + 1 < this.#totalSteps ? this.#readStep() : null
    return rows.map((example, i) => ({ ...example, row: i })).filter(({ row }) => row % size === rank)
  }

  /** Returns the number of complete passes over the data, of the lane with the fewest. */
  epochAfter(): number {
    return Math.min(...this.#place.map(({ pass }) => pass))
  }

  close(): void {
    this.#ending.abort()
    for (const iterator of this.#iterators) void iterator.return(undefined).catch(() => {})
  }

  #readStep(): Promise<ReadStep> {
    const reading = this.#rowsOfNextStep()
    // The failure is thrown when the step is asked for.
    reading.catch(() => {})
    return reading
  }

  async #rowsOfNextStep(): Promise<ReadStep> {
    const rows: Example[] = []
    while (rows.length < this.#options.batchSize && !this.#ended) {
      const next = this.#nextLane()
      const { done, value } = await this.#iterators[next]!.next()
      if (done) this.#ended = this.#lanes[next]!
      else {
        rows.push(value.row)
        this.#readTo = this.#readTo.with(next, value.place)
      }
    }
    return { rows, place: this.#readTo, ended: this.#ended }
  }

  /** Returns the lane that is furthest behind its share; the first of several. */
  #nextLane(): number {
    const all = this.#lanes.reduce((sum, { weight }) => sum + weight, 0)
    const rows = this.#readTo.reduce((sum, { taken }) => sum + taken, 0)
    const behind = this.#lanes.map(({ weight }, i) => weight * (rows + 1) - this.#readTo[i]!.taken * all)
    return behind.indexOf(Math.max(...behind))
  }
}

function recordOf(source: OpenSource): RecordedSource {
  const recorded = source.recorded()
  const { weight } = source
  return typeof recorded === 'object' && 'sha256' in recorded
    ? { stream: 'rows', ...(weight !== undefined && { weight }) }
    : recorded
}
