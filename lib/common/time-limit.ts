/**
 * A limit of time for what cannot be interrupted otherwise: regular expressions that came with a model or an adapter can
 * take any time on a short text.
 */
import { createContext, Script } from 'node:vm'

// The time limit of a script holds for whatever it calls, in whichever context that was made.
const context = createContext({ work: () => {} })
const script = new Script('work()')

/** A busy machine gives a process a small share of its time: the clock may go this many times as far as the processor's time. */
const MOST_WAITING = 4

/**
 * The result of synchronous work that may take `milliseconds` of the processor's time at most. Work that a busy machine kept
 * from its time begins again with more of it. Starting the clock takes a fifth of a millisecond.
 * @param refusal the error where it takes longer, for a reason
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

/** Null where it took longer. */
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
