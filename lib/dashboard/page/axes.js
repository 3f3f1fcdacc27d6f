/** The horizontal axes of charts: steps, or the progress of a run at them. */
import { formatCount, formatDuration, formatTick } from './format.js'

/** @typedef {import('../payload.js').RunMetrics} RunMetrics */
/** @typedef {import('./format.js').Value} Value */
/** @typedef {keyof typeof AXES} AxisName */

/** Seconds between ticks, in the divisions of clocks and calendars. */
const clockIncrements = [
  ...[1, 2, 5, 10, 15, 30],
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60),
  ...[1, 2, 3, 6, 12].map((hours) => hours * 3600),
  ...[1, 2, 5, 10, 20, 50, 100].map((days) => days * 86_400),
]

/**
 * @typedef {object} Axis
 * @property {string} title
 * @property {(value: Value) => string} format
 * @property {(value: number, increment: number) => string} formatTick
 * @property {number[]} [increments] between ticks
 */

export const AXES = {
  step: { title: 'Step', format: formatCount, formatTick: whole },
  epoch: { title: 'Epoch', format: (/** @type {Value} */ value) => shortened(value, 2), formatTick },
  tokens: { title: 'Tokens', format: formatCount, formatTick: whole },
  seconds: { title: 'Time', format: formatDuration, formatTick: formatDuration, increments: clockIncrements },
}

/**
 * @param {number} value
 * @param {number} increment
 */
function whole(value, increment) {
  return Number.isInteger(value) ? formatTick(value, increment) : ''
}

/**
 * @param {Value} value
 * @param {number} digits after the point, at most
 */
export function shortened(value, digits) {
  return value === null || value === undefined ? '–' : String(Number(value.toFixed(digits)))
}

/**
 * Returns the position of steps on an axis, interpolated between the known points of a run; null where it is unknown.
 * @param {RunMetrics | undefined} metrics
 * @param {AxisName} axis
 * @returns {(step: number) => number | null}
 */
export function placesOn(metrics, axis) {
  if (axis === 'step') return (step) => step
  const { steps = [], at = {} } = metrics?.steps ?? {}
  const values = at[axis] ?? []
  if (steps.length === 0) return () => null
  return (step) => {
    const next = firstFrom(steps, step)
    if (next === steps.length) return values[next - 1] ?? null
    const value = values[next] ?? null
    if (value === null || steps[next] === step) return value
    const [stepBefore, before] = next === 0 ? [0, 0] : [steps[next - 1] ?? 0, values[next - 1] ?? null]
    if (before === null || step < stepBefore) return before
    return before + ((step - stepBefore) / ((steps[next] ?? 0) - stepBefore)) * (value - before)
  }
}

/**
 * Returns the first index in rising numbers whose number is at least `wanted`.
 * @param {readonly number[]} numbers
 * @param {number} wanted
 */
function firstFrom(numbers, wanted) {
  let [low, high] = [0, numbers.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((numbers[middle] ?? 0) < wanted) low = middle + 1
    else high = middle
  }
  return low
}
