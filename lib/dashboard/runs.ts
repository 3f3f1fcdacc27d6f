/** The runs below a folder, for the dashboard and reports. */
import { realpath } from 'node:fs/promises'
import { printable } from '../common/printable.js'
import { findRuns } from './find-runs.js'
import type { KnownMetrics, RunDetails, RunList, RunMetrics } from './payload.js'
import { RunReader } from './run-reader.js'

/** Maximum number of rows of metrics in memory, some 70 bytes each; the runs of the latest requests keep theirs. */
const MOST_ROWS_IN_MEMORY = 2 ** 22
/** Milliseconds until the folder is searched for new runs again; longer if a search takes long. */
const SEARCH_INTERVAL = 3_000
/** Maximum share of the time that is spent searching. */
const SEARCH_SHARE = 0.05

export class Runs {
  readonly #signal: AbortSignal | undefined
  readonly #rowsInMemory: number

  #readers = new Map<string, RunReader>()
  #complete = true
  #nextSearch = 0
  /** Ids, the least recently used first. */
  readonly #inMemory = new Set<string>()

  private constructor(
    /** The folder's real path. */
    readonly folder: string,
    signal: AbortSignal | undefined,
    rowsInMemory: number,
  ) {
    this.#signal = signal
    this.#rowsInMemory = rowsInMemory
  }

  /**
   * @param signal aborts reading
   * @param rowsInMemory maximum number of rows of metrics, not counting the run that was requested last
   */
  static async in(folder: string, signal?: AbortSignal, rowsInMemory = MOST_ROWS_IN_MEMORY): Promise<Runs> {
    return new Runs(await realpath(folder), signal, rowsInMemory)
  }

  async list(): Promise<RunList> {
    await this.#search()
    const runs = await Promise.all([...this.#readers.values()].map((reader) => reader.summary()))
    return { folder: this.folder, runs, complete: this.#complete }
  }

  /** Null for an unknown run; only runs that were found have an id, whatever a request says. */
  async details(id: string): Promise<RunDetails | null> {
    return (await (await this.#reader(id))?.details()) ?? null
  }

  /** Returns the rows of a run's metrics that are new to a page; null for an unknown run. */
  async metrics(id: string, known: KnownMetrics | null): Promise<RunMetrics | null> {
    const reader = await this.#reader(id)
    if (!reader) return null
    this.#inMemory.delete(id)
    this.#inMemory.add(id)
    const metrics = await reader.metrics(known)
    this.#forgetOthers(id)
    return metrics
  }

  /** Frees the metrics of the least recently used runs until few enough rows are left, but never the metrics of this run. */
  #forgetOthers(id: string): void {
    let rows = 0
    for (const one of [...this.#inMemory].reverse()) {
      const reader = this.#readers.get(one)
      rows += reader?.rows ?? 0
      if (one === id || rows <= this.#rowsInMemory) continue
      reader?.forgetMetrics()
      this.#inMemory.delete(one)
    }
  }

  async #reader(id: string): Promise<RunReader | undefined> {
    if (!this.#readers.has(id)) await this.#search()
    return this.#readers.get(id)
  }

  async #search(): Promise<void> {
    const begun = performance.now()
    if (begun < this.#nextSearch) return
    const { runs, complete } = await findRuns(this.folder)
    this.#readers = new Map(runs.map((run) => [run.id, this.#readers.get(run.id) ?? new RunReader(run, this.#signal)]))
    this.#complete = complete
    const now = performance.now()
    this.#nextSearch = now + Math.max(SEARCH_INTERVAL, (now - begun) / SEARCH_SHARE)
  }
}

/** Serialises data for the page: texts of runs are made printable, except ids, which requests must repeat exactly. */
export function payloadJson(payload: object): string {
  const shown = (key: string, value: unknown) => (typeof value === 'string' && key !== 'id' ? printable(value) : value)
  return printable(JSON.stringify(payload, shown))
}
