/** The runs below a folder, as the dashboard and reports ask for them. */
import { realpath } from 'node:fs/promises'
import { findRuns } from './find-runs.js'
import type { KnownMetrics, RunDetails, RunList, RunMetrics } from './payload.js'
import { RunReader } from './run-reader.js'

/** Runs whose metrics are kept in memory: those that were asked for last. */
const MOST_IN_MEMORY = 8
/** Milliseconds until the folder is searched for new runs again; longer where a search takes long. */
const SEARCH_INTERVAL = 3_000
/** Share of the time that searching may take. */
const SEARCH_SHARE = 0.05

export class Runs {
  #readers = new Map<string, RunReader>()
  #complete = true
  #nextSearch = 0
  /** Ids, the least recent first. */
  readonly #inMemory = new Set<string>()

  private constructor(
    /** The folder's real path. */
    readonly folder: string,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** @param signal ends what is being read */
  static async in(folder: string, signal?: AbortSignal): Promise<Runs> {
    return new Runs(await realpath(folder), signal)
  }

  async list(): Promise<RunList> {
    await this.#search()
    const runs = await Promise.all([...this.#readers.values()].map((reader) => reader.summary()))
    return { folder: this.folder, runs, complete: this.#complete }
  }

  /** Null for a run that there is not; only runs that were found have an id, whatever a request says. */
  async details(id: string): Promise<RunDetails | null> {
    return (await (await this.#reader(id))?.details()) ?? null
  }

  /** Like `details`: what somebody lacks of a run's metrics who knows so much. */
  async metrics(id: string, known: KnownMetrics | null): Promise<RunMetrics | null> {
    const reader = await this.#reader(id)
    if (!reader) return null
    this.#inMemory.delete(id)
    this.#inMemory.add(id)
    for (const other of [...this.#inMemory].slice(0, -MOST_IN_MEMORY)) {
      this.#readers.get(other)?.forgetMetrics()
      this.#inMemory.delete(other)
    }
    return reader.metrics(known)
  }

  async #reader(id: string): Promise<RunReader | undefined> {
    if (!this.#readers.has(id)) await this.#search()
    return this.#readers.get(id)
  }

  async #search(): Promise<void> {
    const begun = performance.now()
    if (begun < this.#nextSearch) return
    const { runs, complete } = await findRuns(this.folder)
    this.#readers = new Map(runs.map((run) => [run.id, this.#readers.get(run.id) ?? new RunReader(run, this.signal)]))
    this.#complete = complete
    const now = performance.now()
    this.#nextSearch = now + Math.max(SEARCH_INTERVAL, (now - begun) / SEARCH_SHARE)
  }
}
