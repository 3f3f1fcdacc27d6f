/** Retries after transient failures: a lost connection, a busy server, a rate limit. */
import { setTimeout as sleep } from 'node:timers/promises'
import { RunError } from '../common/errors.js'
import { asMessage } from '../common/printable.js'

const ATTEMPTS = 5
/** The longest wait, in seconds; a server that asks for more counts as a failure. */
const LONGEST_WAIT = 300

export interface Pacing {
  /** Called before each wait, with the failure and the length of the wait. */
  onWarning: (message: string) => void
  /** Waits; tests replace it. */
  pause?: (milliseconds: number, signal?: AbortSignal) => Promise<unknown>
  /** Once it is aborted, nothing is tried again. */
  signal?: AbortSignal
}

/** A transient failure. Its message has no full stop. */
export class PassingFailure extends Error {
  /** Seconds that the server asks to wait. */
  readonly wait: number | null
  /** Whether the attempt made progress, which resets the count of attempts. */
  readonly gained: boolean
  /** Whether there was no answer. */
  readonly unanswered: boolean

  constructor(
    readonly code: string,
    message: string,
    { wait = null, gained = false, unanswered = false, cause }: Partial<PassingFailure> = {},
  ) {
    super(asMessage(message), { cause })
    this.wait = wait
    this.gained = gained
    this.unanswered = unanswered
  }
}

/**
 * Repeats `work` while it fails with a `PassingFailure`, at most 5 times in a row without progress. Between attempts it waits as
 * long as the server asks, else 1, 2, 4 and 8 seconds.
 *
 * @throws the signal's reason once it is aborted
 * @param expectAnswer give up at once if there is no answer: users without a network should not have to wait
 * @throws RunError with the code of the failure
 */
export async function withRetries<Result>(
  work: () => Promise<Result>,
  { onWarning, pause = waiting, signal }: Pacing,
  { expectAnswer = false } = {},
): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    try {
      return await work()
    } catch (failure) {
      signal?.throwIfAborted()
      if (!(failure instanceof PassingFailure)) throw failure
      if (failure.gained) attempt = 1
      const seconds = failure.wait ?? 2 ** (attempt - 1)
      const isHopeless = attempt >= ATTEMPTS || seconds > LONGEST_WAIT || (expectAnswer && failure.unanswered)
      if (isHopeless) throw givenUp(failure, attempt)
      onWarning(`${failure.message}; trying again in ${seconds} s.`)
      await pause(seconds * 1000, signal)
    }
  }
}

/** Waits; resolves at once when the signal is aborted. */
export async function waiting(milliseconds: number, signal?: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {})
}

function givenUp({ code, message, wait, cause }: PassingFailure, attempts: number): RunError {
  const tries = attempts > 1 ? ` (${attempts} attempts)` : ''
  const later = wait === null ? '' : `; it asks to wait ${wait} s`
  return new RunError(code, `${message}${tries}${later}.`, { cause })
}
