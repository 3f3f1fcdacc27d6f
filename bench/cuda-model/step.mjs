// What an optimizer step of the whole model costs.
import { totalMicroseconds } from './roofline.mjs'
import { traced } from './run-trace.mjs'

/** The step's launches, its time in microseconds, and the memory's peak in bytes. */
export function predictStep(method, tokens) {
  const { launches, peakBytes } = traced('trace-step.mjs', { method, tokens })
  const time = totalMicroseconds(launches)
  return { method, time, tokensPerSecond: (tokens * 1e6) / time, peakBytes, launches }
}
