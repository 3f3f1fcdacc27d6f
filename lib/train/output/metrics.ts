import { appendLine } from '../../io/atomic.js'
import type { EvaluationEvent, LogEvent, StepEvent } from '../events.js'
import type { LoggedNumbers } from './logged-numbers.js'
import { extendLastMetrics, lineOf, type MetricsLine, OWN_KEYS } from './metrics-file.js'
import type { OutputFolder } from './output-folder.js'
import type { TensorboardFile } from './tensorboard.js'

/** Numbers of every event that TensorBoard shows, in addition to those of the objective and the user. */
const SCALARS = ['loss', 'gradNorm', 'learningRate', 'tokensPerSecond', 'memoryBytes', 'evalLoss']

/** Outputs for the numbers. */
interface Places {
  readonly output: Pick<OutputFolder, 'metrics'> | null
  readonly tensorboard: TensorboardFile | null
}

/**
 * Writes the numbers of a run to `metrics.jsonl` and TensorBoard. The line of an event is written only after its readers have
 * seen the event, so that numbers that they log appear in the line of its step.
 */
export class Metrics {
  readonly #places: Places
  readonly #logged: LoggedNumbers

  #held: MetricsLine | null = null
  #events: LogEvent[] = []

  constructor(places: Places, logged: LoggedNumbers) {
    this.#places = places
    this.#logged = logged
  }

  /** Makes the event's numbers the next line. */
  hold<Event extends StepEvent | EvaluationEvent>(event: Event): Event {
    this.#held = lineOf(event)
    return event
  }

  /** Writes the waiting line, if any, with the logged numbers. */
  async write(): Promise<void> {
    const line = this.#held
    if (line === null) return
    this.#held = null
    const own = this.#take(line.step)
    const { output, tensorboard } = this.#places
    if (output) await appendLine(output.metrics, JSON.stringify({ ...line, ...own }))
    const shown = Object.entries(line).filter(
      (entry): entry is [string, number] => SCALARS.includes(entry[0]) || !OWN_KEYS.has(entry[0]),
    )
    await tensorboard?.append(line.step, { ...Object.fromEntries(shown), ...own })
  }

  /** Ends logging; numbers that are in no line yet are added to the last one. */
  async end(step: number): Promise<void> {
    const own = this.#take(step)
    this.#logged.end()
    if (Object.keys(own).length === 0) return
    const { output, tensorboard } = this.#places
    if (output) await extendLastMetrics(output.metrics, own)
    await tensorboard?.append(step, own)
  }

  /** Returns and removes the events of logged numbers that are written. */
  takeEvents(): LogEvent[] {
    const events = this.#events
    this.#events = []
    return events
  }

  #take(step: number): Readonly<Record<string, number>> {
    const values = this.#logged.take()
    if (Object.keys(values).length > 0) this.#events.push({ type: 'log', step, values })
    return values
  }
}
