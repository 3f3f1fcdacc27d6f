/** Formats numbers for people. */

/** @typedef {number | null | undefined} Value */

const none = '–'

/** @param {Value} value */
export function formatCount(value) {
  return value === null || value === undefined ? none : Math.round(value).toLocaleString('en-US')
}

/**
 * Formats a number whose first digits matter.
 * @param {Value} value
 */
export function formatNumber(value) {
  if (value === null || value === undefined) return none
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (size >= 1e6 || size < 1e-3) return value.toExponential(3).replace('e+', 'e')
  return value.toPrecision(size >= 1 ? 5 : 4)
}

/** @param {Value} value */
export function formatRate(value) {
  return value === null || value === undefined ? none : String(Number(value.toPrecision(4)))
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/**
 * Formats bytes as the command line does (lib/common/bytes.ts, which a browser cannot read).
 * @param {Value} value
 */
export function formatBytes(value) {
  if (value === null || value === undefined) return none
  let [size, unit] = [value, 0]
  while (size >= 1023.5 && unit < UNITS.length - 1) [size, unit] = [size / 1024, unit + 1]
  return `${size < 100 ? Number(size.toPrecision(3)) : Math.round(size)} ${UNITS[unit]}`
}

/**
 * Formats a number for the ticks of an axis: short, with the digits that distinguish neighbours.
 * @param {number} value
 * @param {number} increment between ticks; 0 where they grow by a factor
 */
export function formatTick(value, increment) {
  const size = Math.abs(value)
  if (size === 0) return '0'
  const digits = increment > 0 ? Math.floor(Math.log10(size) + 1e-9) - Math.floor(Math.log10(increment) + 1e-9) + 2 : 3
  const shown = (/** @type {number} */ number) => Number(number.toPrecision(Math.min(Math.max(digits, 1), 12)))
  if (size >= 1e4) {
    const [divisor, letter] = size >= 1e9 ? [1e9, 'G'] : size >= 1e6 ? [1e6, 'M'] : [1e3, 'k']
    return `${shown(value / divisor)}${letter}`
  }
  return size < 1e-3 ? shown(value).toExponential() : String(shown(value))
}

/** @type {readonly (readonly [letter: string, seconds: number])[]} */
const TIMES = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
]

/** @param {Value} value in seconds; shown in its two largest units */
export function formatDuration(value) {
  if (value === null || value === undefined) return none
  if (value < 10) return `${Number(value.toFixed(1))} s`
  const rounded = value < 3600 ? Math.round(value) : Math.round(value / 60) * 60
  const largest = TIMES.findIndex(([, seconds]) => rounded >= seconds)
  let rest = rounded
  const parts = TIMES.slice(largest, largest + 2).map(([letter, seconds]) => {
    const count = Math.floor(rest / seconds)
    rest -= count * seconds
    return count === 0 ? '' : `${count} ${letter}`
  })
  return parts.filter(Boolean).join(' ')
}
