/**
 * Limits the time of synchronous work that cannot be interrupted otherwise: regular expressions from a model or an adapter can
 * take arbitrarily long on a short text.
 */

import { setImmediate } from 'node:timers/promises'
import { createContext, Script } from 'node:vm'

// The time limit of a script covers everything that it calls, in any context.
const context = createContext({ work: () => {} })
const script = new Script('work()')

/** Wall-clock time may be this many times the CPU time, since a busy machine gives a process a small share. */
const MOST_WAITING = 4

/**
 * Returns the result of synchronous work that may take at most `milliseconds` of CPU time. Work that a busy machine did not give
 * its CPU time is started again with a longer limit. Overhead: a fifth of a millisecond.
 * @param refusal makes the error, given the reason, if it takes longer
 */
export function withinTime<Result>(
  milliseconds: number,
  work: () => Result,
  refusal: (reason: string) => Error,
): Result {
  const before = process.cpuUsage()
  for (let waiting = 1; ; waiting *= 2) {
    const result = withinClock(Math.ceil(milliseconds) * waiting, work)
    if (result) return result.value
    const { user, system } = process.cpuUsage(before)
    if ((user + system) / 1000 >= 0.9 * milliseconds || waiting >= MOST_WAITING)
      throw refusal(`it took longer than ${Math.round(milliseconds / 1000)} s`)
  }
}

/** Returns null if it took longer. */
function withinClock<Result>(timeout: number, work: () => Result): { value: Result } | null {
  let result: { value: Result } | null = null
  context.work = () => {
    result = { value: work() }
  }
  try {
    script.runInContext(context, { timeout })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
    return null
  } finally {
    context.work = () => {}
  }
  return result
}

/** Time that work takes at most before other work of the process has its turn [ms]. */
const MOST_MILLISECONDS = 5

/** Long work in pieces, between which other work of the process has its turn. */
export class LoopTurn {
  #began = performance.now()

  /** Lets other work have its turn if this one has taken long. */
  async end(): Promise<void> {
    if (performance.now() - this.#began < MOST_MILLISECONDS) return
    await setImmediate()
    this.#began = performance.now()
  }
}
