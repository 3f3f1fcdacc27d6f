import { setImmediate, setTimeout } from 'node:timers/promises'
import type { NativeDevice } from '../native/addon.js'

/** Work in steps: the event loop may run between them, at each yield. */
export type Steps<R> = Generator<void, R>

/** Runs all steps in one go. */
export function runSteps<R>(steps: Steps<R>): R {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

/** Runs one step in each turn of the event loop; `around` runs each of them, and `pause` is awaited between two. */
export async function runStepsInTurns<R>(
  steps: Steps<R>,
  { around = (step) => step(), pause = setImmediate }: StepsInTurns = {},
): Promise<R> {
  for (;;) {
    const { done, value } = around(() => steps.next())
    if (done) return value
    await pause()
  }
}

interface StepsInTurns {
  around?: <T>(step: () => T) => T
  pause?: () => Promise<void>
}

/** Share of the time that work takes beside what the CPU computes for others. */
const SHARE_BESIDE = 1 / 5

/**
 * Returns a function to call between two steps of work on the main thread: the event loop runs, and while the CPU computes operations,
 * the next step waits, which leaves the cores to them.
 */
export function pauseBeside(device: NativeDevice): () => Promise<void> {
  let start = performance.now()
  return async () => {
    const taken = performance.now() - start
    await setImmediate()
    if (device.kind === 'cpu' && device.queueDepth() > 0) await setTimeout(taken * (1 / SHARE_BESIDE - 1))
    start = performance.now()
  }
}
