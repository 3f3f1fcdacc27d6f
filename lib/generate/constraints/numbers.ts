/** Regular expressions of numbers within bounds. */
import { Inexpressible } from './language.js'

/** Digits of an integer, so that it stays far from infinity. */
const MOST_DIGITS = 18
const LARGEST = 10n ** BigInt(MOST_DIGITS) - 1n

export interface NumberBounds {
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly exclusiveMaximum?: number
}

/** Returns a regular expression of the integers within bounds, of at most 18 digits. */
export function integerPattern(bounds: NumberBounds): string {
  const { minimum = -Infinity, maximum = Infinity, exclusiveMinimum = -Infinity, exclusiveMaximum = Infinity } = bounds
  const least = Math.max(Math.ceil(minimum), Math.floor(exclusiveMinimum) + 1)
  const most = Math.min(Math.floor(maximum), Math.ceil(exclusiveMaximum) - 1)
  return signed(whole(least), whole(most), (from, to) => integers(from, to))
}

/**
 * Returns a regular expression of the numbers within bounds, with at most 18 digits.
 * @throws Inexpressible for a bound that is no integer
 */
export function numberPattern(bounds: NumberBounds): string {
  const { minimum = -Infinity, maximum = Infinity, exclusiveMinimum = -Infinity, exclusiveMaximum = Infinity } = bounds
  const [least, most] = [Math.max(minimum, exclusiveMinimum), Math.min(maximum, exclusiveMaximum)]
  const isFractional = [least, most].find((bound) => Number.isFinite(bound) && !Number.isInteger(bound))
  if (isFractional !== undefined) throw new Inexpressible(`the bound ${isFractional} of numbers, which is not whole`)
  const [low, high] = [whole(least), whole(most)]
  const isExcluded = (value: bigint) =>
    (value === low && exclusiveMinimum >= minimum) || (value === high && exclusiveMaximum <= maximum)
  return signed(low, high, (from, to, sign) => decimals(from, to, (value) => isExcluded(sign * value)))
}

const whole = (value: number): bigint => (value > 1e18 ? LARGEST : value < -1e18 ? -LARGEST : BigInt(value))

/** Joins the expressions of negative and of other numbers. */
function signed(
  low: bigint,
  high: bigint,
  pattern: (from: bigint, to: bigint, sign: bigint) => string | undefined,
): string {
  const [from, to] = [low < -LARGEST ? -LARGEST : low, high > LARGEST ? LARGEST : high]
  const negative = from < 0n ? pattern(to < 0n ? -to : 0n, -from, -1n) : undefined
  const positive = to >= 0n ? pattern(from < 0n ? 0n : from, to, 1n) : undefined
  const parts = [...(positive ? [positive] : []), ...(negative ? [`-${negative}`] : [])]
  if (from > to || parts.length === 0) throw new Inexpressible('bounds between which there is no number')
  return either(parts)
}

/** Returns an expression of the integers from one to another, neither negative; undefined if there is none. */
function integers(from: bigint, to: bigint): string | undefined {
  if (from > to) return undefined
  const parts: string[] = []
  for (let digits = String(from).length; digits <= String(to).length; digits++) {
    const [least, most] = [digits === 1 ? 0n : 10n ** BigInt(digits - 1), 10n ** BigInt(digits) - 1n]
    parts.push(sameLength(String(from > least ? from : least), String(to < most ? to : most)))
  }
  return either(parts)
}

/** Returns an expression of texts of digits that are between two of the same length. */
function sameLength(from: string, to: string): string {
  if (/^0*$/.test(from) && /^9*$/.test(to)) return `[0-9]{${from.length}}`
  const [first, last, left] = [from[0]!, to[0]!, from.length - 1]
  if (first === last) return left === 0 ? first : first + sameLength(from.slice(1), to.slice(1))
  if (left === 0) return `[${first}-${last}]`
  const next = /^0*$/.test(from.slice(1)) ? Number(first) : Number(first) + 1
  const before = /^9*$/.test(to.slice(1)) ? Number(last) : Number(last) - 1
  return either([
    ...(next > Number(first) ? [first + sameLength(from.slice(1), '9'.repeat(left))] : []),
    ...(next <= before ? [`[${next}-${before}][0-9]{${left}}`] : []),
    ...(before < Number(last) ? [last + sameLength('0'.repeat(left), to.slice(1))] : []),
  ])
}

/** Returns an expression of the numbers from one integer to another, neither negative; undefined if there is none. */
function decimals(from: bigint, to: bigint, isExcluded: (value: bigint) => boolean): string | undefined {
  if (from === to) return isExcluded(from) ? undefined : `${from}(?:\\.0)?`
  const between = integers(from + 1n, to - 1n)
  // With 15 digits in all, a number never rounds to the next integer.
  const digits = Math.max(1, 15 - String(to).length)
  const fraction = `(?:\\.[0-9]{1,${digits}})?`
  return either([
    isExcluded(from) ? `${from}\\.[0-9]{0,${digits - 1}}[1-9]` : `${from}${fraction}`,
    ...(between ? [`${between}${fraction}`] : []),
    ...(isExcluded(to) ? [] : [`${to}(?:\\.0{1,${digits}})?`]),
  ])
}

const either = (parts: readonly string[]): string => (parts.length === 1 ? parts[0]! : `(?:${parts.join('|')})`)
