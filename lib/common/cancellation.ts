/** Waits for work that may fail elsewhere, take too long or be cancelled. */
import { setMaxListeners } from 'node:events'
import { RunError } from './errors.js'

/** A signal for many pieces of work at once, which end with the first that fails. */
export class TaskGroup {
  readonly signal: AbortSignal
  readonly #failing = new AbortController()

  /** @param signal aborting it ends all of them too */
  constructor(signal?: AbortSignal) {
    this.signal = signal ? AbortSignal.any([signal, this.#failing.signal]) : this.#failing.signal
    // Each piece of work listens.
    setMaxListeners(0, this.signal)
  }

  /** Runs a piece of work. */
  async run<Value>(work: () => Promise<Value>): Promise<Value> {
    try {
      return await work()
    } catch (error) {
      this.#failing.abort(error)
      throw error
    }
  }
}

/** Longer times would pass at once. */
const LONGEST = 2 ** 31 - 1

/**
 * Does work that may never end: rejects after this many seconds, or with the reason of an aborted signal. The work itself goes
 * on, and its result is ignored.
 * @throws RunError `timeout`
 */
export async function withDeadline<Value>(
  work: () => Promise<Value>,
  { seconds, signal }: { seconds: number; signal?: AbortSignal | undefined },
): Promise<Value> {
  signal?.throwIfAborted()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const end = () => reject(new RunError('timeout', `There was no answer within ${seconds} seconds.`))
    timer = setTimeout(end, Math.min(seconds * 1000, LONGEST))
  })
  try {
    return await unlessAborted(Promise.race([work(), late]), signal)
  } finally {
    clearTimeout(timer)
  }
}

/** Resolves as a promise does, unless the signal is aborted before: then it rejects with the signal's reason. */
export async function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (!signal) return promise
  let onAbort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort)
  })
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener('abort', onAbort))
}
