import { aNumber, anObject, check, expecting } from '../../common/arguments.js'
import { quoted, UsageError } from '../../common/errors.js'
import { OWN_KEYS } from './metrics-file.js'

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
          `Expected another name than ${quoted(name)} for a number to log: empty names and those of metrics.jsonl itself (${[...OWN_KEYS].join(', ')}) are taken.`,
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

  /** Rejects numbers from now on. */
  end(): void {
    this.#ended = true
  }
}
