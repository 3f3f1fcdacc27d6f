/** Reports of a run besides its steps and evaluations: notices, and progress in reading rows. */
import type { TokeniseProgress } from '../batches/examples/tokenise.js'
import type { StepEvent } from './events.js'
import type { RankSync } from './rank-sync.js'
import type { RunControl } from './run.js'
import { stoppedEarly } from './stopped-early.js'

/** Reports a message, if there is one, unless one of its kind was reported. */
export type Notice = (message: string | null, kind?: string | null) => Promise<void>

/** The first rank reports for all. */
export function noticesOf(control: RunControl, { isFirst }: RankSync): Notice {
  const reported = new Set<string>()
  return async (message, kind = message) => {
    if (!isFirst || !message || !kind || reported.has(kind)) return
    reported.add(kind)
    await control.emit({ type: 'notice', message })
  }
}

export const toolNotice = (error: string): string =>
  `A tool that the model called failed (toolErrors in metrics.jsonl): ${error}. Later failures are reported to the model alone.`

export function idleNotice({ step, targetTokens, metrics }: StepEvent): string {
  let reason = 'the loss is the same whatever the model answers'
  if (metrics?.zeroStd === 1) reason = 'the rewards within each group were equal (zeroStd in metrics.jsonl)'
  else if (targetTokens === 0) reason = 'no token of its answers counts in the loss (targetTokens in metrics.jsonl)'
  return `Step ${step} had no gradient: ${reason}. Later steps may be affected too.`
}

/** Fewer rows are read too fast to be worth an event. */
const FEW_ROWS = 256

/** Reports rows as they are read, one event at a time: the set-up, which reads them, does not wait for the reader of events. */
export function rowProgress(
  control: RunControl,
  { isFirst, ranks }: RankSync,
): {
  /** Ends reading rows before the first step. */
  reading: AbortSignal
  report(figures: TokeniseProgress): void
  /** Reports no more, and resolves when the last event is handled. */
  end(): Promise<void>
} {
  let isFree = isFirst
  let hasBegun = false
  let sent = Promise.resolve()
  const reading = new AbortController()
  return {
    reading: reading.signal,
    report(figures) {
      if (figures.rows < FEW_ROWS) return
      // Several ranks end together.
      if (control.stopRequested && !hasBegun && ranks.size === 1) reading.abort(stoppedEarly())
      if (!isFree) return
      isFree = false
      sent = control.emit({ type: 'progress', ...figures })
      sent.then(
        () => {
          isFree = true
        },
        () => {}, // thrown by `end`
      )
    },
    async end() {
      hasBegun = true
      await sent
      isFree = false
    },
  }
}
