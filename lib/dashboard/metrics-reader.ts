/** `metrics.jsonl` of a run, read as it grows. */
import { randomUUID } from 'node:crypto'
import { isJsonObject } from '../io/json.js'
import { AppendedLines } from './appended-lines.js'
import { MetricTable } from './metric-table.js'
import type { KnownMetrics, RunMetrics } from './payload.js'

/** Metrics of optimizer steps, under their names in the file. */
const STEP_METRICS = ['loss', 'gradNorm', 'learningRate', 'tokensPerSecond', 'memoryBytes', 'epoch']

/** More steps than any run takes. */
const MOST_ROWS = 2 ** 22

export class MetricsReader {
  readonly #lines: AppendedLines
  #steps = new MetricTable(STEP_METRICS)
  #evaluations = new MetricTable(['evalLoss'])
  #version = randomUUID()
  #malformed = 0

  constructor(path: string, signal?: AbortSignal) {
    this.#lines = new AppendedLines(path, { onLine: (line) => this.#add(line), onReset: () => this.#reset() }, signal)
  }

  /** Reads what was appended, and gives what somebody lacks who knows so much. */
  async since(known: KnownMetrics | null): Promise<RunMetrics> {
    await this.#lines.read()
    const own = known?.version === this.#version ? known : null
    return {
      version: this.#version,
      steps: this.#steps.since(own?.steps ?? null),
      evaluations: this.#evaluations.since(own?.evaluations ?? null),
      malformed: this.#malformed,
    }
  }

  #add(line: string): void {
    const entry = parsed(line)
    const table = entry && 'evalLoss' in entry ? this.#evaluations : this.#steps
    if (!entry || typeof entry.step !== 'number' || !Number.isFinite(entry.step) || table.rows >= MOST_ROWS) {
      this.#malformed++
      return
    }
    if (table.add(entry.step, entry)) this.#version = randomUUID()
  }

  #reset(): void {
    this.#steps = new MetricTable(STEP_METRICS)
    this.#evaluations = new MetricTable(['evalLoss'])
    this.#version = randomUUID()
    this.#malformed = 0
  }
}

/** The object of a line; null when it is none. */
export function parsed(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line)
    return isJsonObject(value) ? value : null
  } catch {
    return null
  }
}
