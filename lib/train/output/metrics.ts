import { aNumber, anObject, check, expecting } from '../../common/arguments.js'
import { quoted, UsageError } from '../../common/errors.js'
import { appendLine, syncAppended } from '../../io/atomic.js'
import type { EvaluationEvent, LogEvent, StepEvent } from '../events.js'
import { extendLastMetrics, lineOf, OWN_KEYS } from './metrics-file.js'
import type { OutputFolder } from './output-folder.js'
import type { TensorboardFile } from './tensorboard.js'

/** Numbers that TensorBoard shows of every event, in addition to metrics of the objective and of the user. */
const SCALARS = ['loss', 'gradNorm', 'learningRate', 'tokensPerSecond', 'memoryBytes', 'evalLoss']

/**
 * Writes the numbers of a run to `metrics.jsonl` and TensorBoard. The line of an event is written only after its readers have
 * seen the event, so that numbers that they log appear in the line of its step.
 */
export class Metrics {
  readonly #folder: OutputFolder | null
  readonly #tensorboard: TensorboardFile | null
  readonly #logged: LoggedNumbers

  #pending: ReturnType<typeof lineOf> | null = null
  #events: LogEvent[] = []

  /** Writes nowhere if both the folder and TensorBoard's file are null. */
  constructor(folder: OutputFolder | null, tensorboard: TensorboardFile | null, logged: LoggedNumbers) {
    this.#folder = folder
    this.#tensorboard = tensorboard
    this.#logged = logged
  }

  /** Syncs what was appended to the run's files to disk. */
  async sync(): Promise<void> {
    if (!this.#folder) return
    const { metrics, samples, rollouts, path } = this.#folder
    const events = this.#tensorboard ? [this.#tensorboard.path] : []
    await syncAppended([metrics, samples, rollouts, ...events, path])
  }

  /** Makes the event's numbers the next line. */
  prepare<Event extends StepEvent | EvaluationEvent>(event: Event): Event {
    this.#pending = lineOf(event)
    return event
  }

  /** Writes the waiting line, if any, with the logged numbers. */
  async write(): Promise<void> {
    const line = this.#pending
    if (line === null) return
    this.#pending = null
    const own = this.#take(line.step)
    if (this.#folder) await appendLine(this.#folder.metrics, JSON.stringify({ ...line, ...own }))
    const shown = Object.entries(line).filter(
      (entry): entry is [string, number] => SCALARS.includes(entry[0]) || !OWN_KEYS.has(entry[0]),
    )
    await this.#tensorboard?.append(line.step, { ...Object.fromEntries(shown), ...own })
  }

  /** Ends logging; numbers that are in no line yet are added to the last one. */
  async end(step: number): Promise<void> {
    const own = this.#take(step)
    this.#logged.end()
    if (Object.keys(own).length === 0) return
    if (this.#folder) await extendLastMetrics(this.#folder.metrics, own)
    await this.#tensorboard?.append(step, own)
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

const addArguments = { values: expecting('an object of numbers by their names', anObject) }

/** Numbers that the user logged, until the next line of metrics. */
export class LoggedNumbers {
  #waiting = new Map<string, number>()
  #ended = false

  /** Adds numbers; a newer one replaces a waiting one of the same name. */
  add(values: Readonly<Record<string, number>>): void {
    if (this.#ended) {
      throw new UsageError('ended', 'The run has ended, so nothing more is logged: log before its last event.')
    }
    check({ values }, addArguments)
    for (const [name, value] of Object.entries(values)) {
      if (name === '' || OWN_KEYS.has(name)) {
        throw new UsageError(
          'bad-value',
          `Expected another name than ${quoted(name)} for a number to log: empty names and the names of metrics.jsonl itself (${[...OWN_KEYS].join(', ')}) are taken.`,
        )
      }
      check({ [`${name} to log`]: value }, { [`${name} to log`]: aNumber })
    }
    for (const [name, value] of Object.entries(values)) this.#waiting.set(name, value)
  }

  /** Returns and removes the waiting numbers. */
  take(): Readonly<Record<string, number>> {
    const values = Object.fromEntries(this.#waiting)
    this.#waiting.clear()
    return values
  }

  /** Rejects all further numbers. */
  end(): void {
    this.#ended = true
  }
}
