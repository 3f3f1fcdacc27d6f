import { setImmediate } from 'node:timers/promises'

/** Work in steps: the event loop may run between them, at each yield. */
export type Parts<R> = Generator<void, R>

/** Runs all steps now. */
export function atOnce<R>(parts: Parts<R>): R {
  for (;;) {
    const { done, value } = parts.next()
    if (done) return value
  }
}

/** Runs one step in each turn of the event loop; `around` runs each of them. */
export async function inTurns<R>(parts: Parts<R>, around: <T>(part: () => T) => T = (part) => part()): Promise<R> {
  for (;;) {
    const { done, value } = around(() => parts.next())
    if (done) return value
    await setImmediate()
  }
}
