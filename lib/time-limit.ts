/**
 * A limit of time for what cannot be interrupted otherwise: regular expressions that came with a model or an adapter can
 * take any time on a short text.
 */
import { createContext, Script } from 'node:vm'

/** Thrown by `withinTime`. */
export class OutOfTime extends Error {
  constructor(readonly milliseconds: number) {
    super(`it took longer than ${Math.round(milliseconds / 1000)} s`)
  }
}

// The time limit of a script holds for whatever it calls, in whichever context that was made.
const context = createContext({ work: () => {} })
const script = new Script('work()')

/**
 * The result of synchronous work that may take so long at most. Starting the clock takes a fifth of a millisecond.
 * @throws OutOfTime
 */
export function withinTime<Result>(milliseconds: number, work: () => Result): Result {
  let result: { value: Result } | null = null
  context.work = () => {
    result = { value: work() }
  }
  try {
    script.runInContext(context, { timeout: Math.ceil(milliseconds) })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
    throw new OutOfTime(milliseconds)
  } finally {
    context.work = () => {}
  }
  return (result as { value: Result } | null)!.value
}
