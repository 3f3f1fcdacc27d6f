/** Languages of numbers within bounds, and of multiples. */
import { Inexpressible, type Language, type Machine, type MachineState, type Range, textLanguage } from './language.js'
import { regexLanguage, WHOLE_TEXT } from './regex.js'

/** Digits of an integer, so that it stays far from infinity. */
const MOST_DIGITS = 18
const LARGEST = 10n ** BigInt(MOST_DIGITS) - 1n
/** Digits of a number with a fraction, and of a multiple: with 15, two numbers are never rounded to the same one. */
const EXACT_DIGITS = 15
/** Maximum number of states of an automaton of multiples. */
const MOST_REMAINDERS = 2000

/** What a number has to be. */
export interface NumberLimits {
  readonly isInteger: boolean
  readonly low: Bound | undefined
  readonly high: Bound | undefined
  readonly multipleOf: readonly number[]
}

export interface Bound {
  readonly value: number
  /** Whether the value itself is out of bounds. */
  readonly isExclusive: boolean
}

/** Bounds of a number, as keywords. */
export interface BoundKeywords {
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number | boolean
  readonly exclusiveMaximum?: number | boolean
}

/** Returns the narrower of the lower bounds of some schemas (`sign` 1), or of the upper ones (-1). */
export function narrowest(schemas: readonly BoundKeywords[], sign: 1 | -1): Bound | undefined {
  const bounds = schemas.flatMap((keywords): Bound[] => {
    const [value, exclusive] =
      sign === 1 ? [keywords.minimum, keywords.exclusiveMinimum] : [keywords.maximum, keywords.exclusiveMaximum]
    return [
      ...(value === undefined ? [] : [{ value, isExclusive: exclusive === true }]),
      ...(typeof exclusive === 'number' ? [{ value: exclusive, isExclusive: true }] : []),
    ]
  })
  const rank = ({ value, isExclusive }: Bound) => [sign * value, Number(isExclusive)] as const
  const isNarrower = (a: Bound, b: Bound) => {
    const [[one, mine], [other, its]] = [rank(a), rank(b)]
    return one > other || (one === other && mine > its)
  }
  return bounds.reduce<Bound | undefined>((best, one) => (best && !isNarrower(one, best) ? best : one), undefined)
}

const digits = (from: number, to: number): Language => ({ bytes: [[0x30 + from, 0x30 + to]] })
const pattern = (source: string): Language => regexLanguage(source, WHOLE_TEXT)
const INTEGER = `(?:0|[1-9][0-9]{0,${MOST_DIGITS - 1}})`

/**
 * Returns the language of the numbers within limits: integers of at most 18 digits; multiples, and numbers with a fraction, of at most 15.
 * Numbers have exponents only if they have no limits.
 * @throws Inexpressible for a multiple of a number that is too large
 */
export function numberLanguage(limits: NumberLimits): Language {
  const { isInteger, low, high, multipleOf } = limits
  if (!low && !high && multipleOf.length === 0) {
    return pattern(isInteger ? `-?${INTEGER}` : `-?${INTEGER}(?:\\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,2})?`)
  }
  const wholes = multipleOf.length > 0 ? EXACT_DIGITS : MOST_DIGITS
  const form = isInteger ? pattern(`(?:0|[1-9][0-9]{0,${wholes - 1}})`) : decimalForm(wholes)
  const common = [form, ...multipleOf.map(multiplesOf)] as const
  const mirrored = (bound: Bound | undefined) => bound && { ...bound, value: -bound.value }
  const within = (from: Bound | undefined, to: Bound | undefined): Language => ({
    all: [...common, ...(from && from.value >= 0 ? [atLeast(from)] : []), ...(to ? [atMost(to)] : [])],
  })
  const positive = high && high.value < 0 ? [] : [within(low, high)]
  const negative = low && low.value >= 0 ? [] : [{ row: [textLanguage('-'), within(mirrored(high), mirrored(low))] }]
  return { any: [...positive, ...negative] }
}

/** Returns the language of 0 and positive numbers without exponents. @param wholes most digits of an integer */
function decimalForm(wholes: number): Language {
  const states: { edges: (readonly [Range, number])[]; isEnd: boolean }[] = []
  const add = (isEnd: boolean) => states.push({ edges: [], isEnd }) - 1
  const lead = (from: number, [first, last]: Range, to: number) => states[from]!.edges.push([[first, last], to])
  const start = add(false)
  const integers = Array.from({ length: wholes }, () => add(true))
  const fractions = Array.from({ length: EXACT_DIGITS }, () => add(true))
  const fraction = (from: number, count: number) => {
    if (count >= EXACT_DIGITS) return
    const point = add(false)
    lead(from, [0x2e, 0x2e], point)
    lead(point, [0x30, 0x39], fractions[count]!)
  }
  for (const [i, state] of fractions.slice(0, -1).entries()) lead(state, [0x30, 0x39], fractions[i + 1]!)
  for (const [i, state] of integers.entries()) {
    fraction(state, i + 1)
    if (i > 0) lead(integers[i - 1]!, [0x30, 0x39], state)
  }
  const zero = add(true)
  fraction(zero, 1)
  lead(start, [0x30, 0x30], zero)
  lead(start, [0x31, 0x39], integers[0]!)
  return { states: states.map(({ edges, isEnd }) => ({ edges: edges.sort(([[a]], [[b]]) => a - b), isEnd })) }
}

/** Returns the integer and the fraction of a number of at least 0, as digits. */
function decimalOf(value: number): { whole: bigint; fraction: string } {
  const [, whole, fraction = '', exponent = '0'] = /^(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(value))!
  const shift = Number(exponent)
  const all = shift < 0 ? '0'.repeat(-shift) + whole : whole!
  const point = all.length + shift
  const padded = (all + fraction).padEnd(point, '0')
  return { whole: BigInt(padded.slice(0, point)), fraction: padded.slice(point).replace(/0+$/, '') }
}

/** Returns a bound whose value itself is within, if its neighbours of 16 digits or more would be rounded to it. */
function roundedBound({ value, isExclusive }: Bound, sign: 1 | -1): Bound {
  if (!isExclusive || value <= Number.MAX_SAFE_INTEGER || !Number.isFinite(value)) return { value, isExclusive }
  const neighbour = new Float64Array([value])
  new BigInt64Array(neighbour.buffer)[0]! += BigInt(sign)
  return { value: neighbour[0]!, isExclusive: false }
}

const FRACTION = '(?:\\.[0-9]+)?'

/** Returns the language of numbers from a bound of at least 0 on. */
function atLeast(bound: Bound): Language {
  const { value, isExclusive } = roundedBound(bound, 1)
  const { whole, fraction } = decimalOf(value)
  const above = integers(whole + 1n, LARGEST)
  const more = (given: string): string => {
    const [first, rest] = [Number(given[0]), given.slice(1)]
    const same = `${first}${rest === '' ? (isExclusive ? '0*[1-9][0-9]*' : '[0-9]*') : more(rest)}`
    return first === 9 ? same : `(?:[${first + 1}-9][0-9]*|${same})`
  }
  const itself = isExclusive ? '\\.0*[1-9][0-9]*' : FRACTION
  const equal = `${whole}${fraction === '' ? itself : `\\.${more(fraction)}`}`
  return pattern([equal, ...(above ? [`${above}${FRACTION}`] : [])].join('|'))
}

/** Returns the language of numbers from 0 up to a bound. */
function atMost(bound: Bound): Language {
  const { value, isExclusive } = roundedBound(bound, -1)
  const { whole, fraction } = decimalOf(value)
  const below = integers(0n, whole - 1n < LARGEST ? whole - 1n : LARGEST)
  /** Returns an expression of fractions up to one that is not 0; undefined if there is none. */
  const less = (given: string): string => {
    const [first, rest] = [Number(given[0]), given.slice(1)]
    const same = rest === '' ? (isExclusive ? [] : [`${first}0*`]) : [`${first}(?:${less(rest)})?`]
    return [...(first === 0 ? [] : [`[0-${first - 1}][0-9]*`]), ...same].join('|')
  }
  const itself = isExclusive ? [] : [`${whole}(?:\\.0+)?`]
  const equal = fraction === '' ? itself : [`${whole}(?:\\.(?:${less(fraction)}))?`]
  const parts = [...equal, ...(below ? [`${below}${FRACTION}`] : [])]
  return parts.length === 0 ? { any: [] } : pattern(parts.join('|'))
}

/** Returns an expression of the integers from one to another, neither negative; undefined if there is none. */
function integers(from: bigint, to: bigint): string | undefined {
  if (from > to) return undefined
  const parts: string[] = []
  for (let count = String(from).length; count <= String(to).length; count++) {
    const [least, most] = [count === 1 ? 0n : 10n ** BigInt(count - 1), 10n ** BigInt(count) - 1n]
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

const either = (parts: readonly string[]): string => (parts.length === 1 ? parts[0]! : `(?:${parts.join('|')})`)

/** Returns the language of multiples of a number above 0, whose signs and leading zeros others limit. */
function multiplesOf(step: number): Language {
  const { whole, fraction } = decimalOf(step)
  const scaled = BigInt(`${whole}${fraction}`)
  // A multiple of 3000 is one of 3 before three zeros.
  const zeros = fraction === '' ? /0*$/.exec(String(scaled))![0].length : 0
  const divisor = Number(scaled / 10n ** BigInt(zeros))
  const places = fraction.length
  if (divisor * (places + 2) > MOST_REMAINDERS)
    throw new Inexpressible(`the multipleOf ${step}, whose remainders take more than ${MOST_REMAINDERS} states`)
  if (zeros === 0) return remainders(divisor, places, true)
  const zero = { part: digits(0, 0), least: zeros, most: zeros }
  const multiples: Language = { any: [textLanguage('0'), { row: [remainders(divisor, 0, false), zero] }] }
  return { row: [multiples, pattern('(?:\\.0+)?')] }
}

/** Returns the automaton of decimals that are multiples of `divisor / 10 ** places`. */
function remainders(divisor: number, places: number, hasPoint: boolean): Machine {
  const phases = hasPoint ? places + 2 : 1
  const at = (phase: number, remainder: number) => phase * divisor + remainder
  const states = Array.from({ length: phases * divisor }, (_, state): MachineState => {
    const [phase, remainder] = [Math.floor(state / divisor), state % divisor]
    const missing = Math.max(0, phase === 0 ? places : places - phase + 1)
    const isLast = phase > places
    const next = phase === 0 ? 0 : Math.min(phase + 1, places + 1)
    return {
      edges: [
        ...(hasPoint && phase === 0 ? [[[0x2e, 0x2e], at(1, remainder)] as const] : []),
        // Behind the last place of the divisor there are only zeros.
        ...Array.from({ length: isLast ? 1 : 10 }, (_, digit) => {
          const to = isLast ? remainder : (10 * remainder + digit) % divisor
          return [[0x30 + digit, 0x30 + digit], at(next, to)] as const
        }),
      ],
      isEnd: Array.from({ length: missing }).reduce<number>((rest) => (10 * rest) % divisor, remainder) === 0,
    }
  })
  return merged(states)
}

/** Returns an automaton of digits with one state for all from which the same texts lead to an end. */
function merged(states: readonly MachineState[]): Machine {
  let [classes, count] = [states.map(({ isEnd }) => Number(isEnd)), 0]
  for (;;) {
    const known = new Map<string, number>()
    const before = classes
    classes = states.map(({ edges }, i) => {
      const key = [before[i], ...edges.map(([[digit], target]) => `${digit}:${before[target]}`)].join()
      const found = known.get(key) ?? known.size
      known.set(key, found)
      return found
    })
    if (known.size === count) break
    count = known.size
  }
  return {
    states: Array.from({ length: count }, (_, one) => {
      const { edges, isEnd } = states[classes.indexOf(one)]!
      return { edges: edges.map(([range, target]) => [range, classes[target]!] as const), isEnd }
    }),
  }
}
