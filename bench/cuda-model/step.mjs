// The cost of an optimizer step of the whole model.
import { totalMicroseconds } from './roofline.mjs'
import { traced } from './run-trace.mjs'

/**
 * Returns the step's launches, its time in microseconds, and bytes: peak memory, and the weights' memory.
 * @param {string} method
 * @param {number} tokens
 * @param {{ format?: string, checkpointing?: boolean, deviceBytes?: number }} options of trace-step.mjs, and the device's memory
 */
export function predictStep(method, tokens, options = {}) {
  const { deviceBytes, ...more } = options
  const { launches, peakBytes, weightBytes } = traced('trace-step.mjs', { method, tokens, ...more }, deviceBytes)
  const time = totalMicroseconds(launches)
  return { method, time, tokensPerSecond: (tokens * 1e6) / time, peakBytes, weightBytes, launches }
}
