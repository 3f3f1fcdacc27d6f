/** Reads `metrics.jsonl` of a run while it grows. */
import { randomUUID } from 'node:crypto'
import { AppendedLines } from '../io/appended-lines.js'
import { isJsonObject, jsonIn } from '../io/json.js'
import { MetricTable } from './metric-table.js'
import type { KnownMetrics, RunMetrics } from './payload.js'

/** Metrics of optimizer steps, by their names in the file. */
const STEP_METRICS = ['loss', 'gradNorm', 'learningRate', 'tokensPerSecond', 'memoryBytes']
/** Progress of a run at a step: passes over the data, tokens, and seconds since its start. */
const POSITIONS = ['epoch', 'tokens', 'seconds']
/** Any other number in a line is one of the user's own metrics. */
const KNOWN_KEYS = new Set([...STEP_METRICS, ...POSITIONS, 'step', 'time', 'targetTokens', 'evalLoss'])

/** Maximum number of steps, and of values of own metrics: more than any run has. */
const MOST_ROWS = 2 ** 22
/** Maximum number of own metrics: a file may have a new name in every line. */
const MOST_OWN = 100
/** Seconds without a line, in addition to its step's time, after which the run counts as interrupted. */
const PAUSE = 10 * 60

type Entry = Readonly<Record<string, unknown>>

export class MetricsReader {
  readonly #lines: AppendedLines
  #steps!: MetricTable
  #evaluations!: MetricTable
  #own!: Map<string, MetricTable>
  #ownRows!: number
  #hasMoreOwn!: boolean
  #version!: string
  #malformed!: number
  /** Time of the last step, in milliseconds since 1970; NaN if its line has none. */
  #written!: number

  constructor(path: string, signal?: AbortSignal) {
    this.#lines = new AppendedLines(path, { onLine: (line) => this.#add(line), onReset: () => this.#reset() }, signal)
    this.#reset()
  }

  /** Number of rows in memory. */
  get rows(): number {
    return this.#tables().reduce((sum, table) => sum + table.rows, 0)
  }

  /** Reads the appended lines, and returns the rows that are new to a page. */
  async since(known: KnownMetrics | null): Promise<RunMetrics> {
    await this.#lines.read()
    const tables = this.#tables()
    const isKnown = known?.version === this.#version && known.tables.length === tables.length
    const [steps, evaluations, ...own] = tables.map((table, i) => table.since(isKnown ? known.tables[i]! : null))
    const names = [...this.#own.keys()]
    return {
      version: this.#version,
      steps: steps!,
      evaluations: evaluations!,
      own: own.map((part, i) => ({ name: names[i]!, ...part })),
      hasMoreOwn: this.#hasMoreOwn,
      malformed: this.#malformed,
    }
  }

  #tables(): MetricTable[] {
    return [this.#steps, this.#evaluations, ...this.#own.values()]
  }

  #add(line: string): void {
    const entry = parsed(line)
    if (!entry || typeof entry.step !== 'number' || !Number.isFinite(entry.step) || this.#isFull(entry)) {
      this.#malformed++
      return
    }
    const { step } = entry
    let dropped = false
    if ('evalLoss' in entry) dropped = this.#evaluations.add(step, entry)
    else if (STEP_METRICS.some((name) => name in entry)) dropped = this.#addStep(step, entry)
    for (const [name, value] of Object.entries(entry)) {
      if (!KNOWN_KEYS.has(name) && this.#addOwn(step, name, value)) dropped = true
    }
    if (dropped) this.#version = randomUUID()
  }

  #isFull(entry: Entry): boolean {
    return ('evalLoss' in entry ? this.#evaluations : this.#steps).rows >= MOST_ROWS
  }

  #addStep(step: number, entry: Entry): boolean {
    const dropped = this.#steps.drop(step)
    const tokens = this.#steps.position('tokens') + Number(entry.tokens)
    const seconds = this.#steps.position('seconds') + this.#secondsOf(entry)
    this.#steps.add(step, { ...entry, tokens, seconds })
    return dropped
  }

  /** Returns the time since the line before; if that is unknown or the run was interrupted, the duration of the step. */
  #secondsOf({ time, tokens, tokensPerSecond }: Entry): number {
    const took = Number(tokens) / Number(tokensPerSecond)
    const written = typeof time === 'string' ? Date.parse(time) : Number.NaN
    const since = (written - this.#written) / 1000
    this.#written = written
    return since >= took && since <= took + PAUSE ? since : took
  }

  /** Adds a value of an own metric, which begins with its first number; null means not finite. */
  #addOwn(step: number, name: string, value: unknown): boolean {
    const table = this.#own.get(name)
    if (typeof value !== 'number' && !(table && value === null)) return false
    if (this.#ownRows === MOST_ROWS || (!table && this.#own.size === MOST_OWN)) {
      this.#hasMoreOwn = true
      return false
    }
    this.#ownRows++
    if (!table) this.#own.set(name, new MetricTable(['value']))
    return this.#own.get(name)!.add(step, { value })
  }

  #reset(): void {
    this.#steps = new MetricTable(STEP_METRICS, POSITIONS)
    this.#evaluations = new MetricTable(['evalLoss'])
    this.#own = new Map()
    this.#ownRows = 0
    this.#hasMoreOwn = false
    this.#version = randomUUID()
    this.#malformed = 0
    this.#written = Number.NaN
  }
}

/** Parses the object of a line; null if it is none. */
export function parsed(line: string): Record<string, unknown> | null {
  const value = jsonIn(line)
  return isJsonObject(value) ? value : null
}
