import { setImmediate } from 'node:timers/promises'

/** Work in steps: the event loop may run between them, at each yield. */
export type Steps<R> = Generator<void, R>

/** Runs all steps in one go. */
export function runSteps<R>(steps: Steps<R>): R {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

/** Runs one step in each turn of the event loop; `around` runs each of them. */
export async function runStepsInTurns<R>(
  steps: Steps<R>,
  around: <T>(step: () => T) => T = (step) => step(),
): Promise<R> {
  for (;;) {
    const { done, value } = around(() => steps.next())
    if (done) return value
    await setImmediate()
  }
}
