/** Functions that every template can call. */
import { str } from '../python/text.js'
import { Attributes, type Callable, callable, indexOf, stringOf, type Value } from '../python/values.js'

/** The sandbox of Python's library has the same limit. */
const MOST_OF_RANGE = 100_000

export const globals: Readonly<Record<string, Callable>> = {
  dict: dictionary,
  namespace: (args, keywords) => {
    const values = dictionary(args, keywords)
    return new Attributes(
      (name) => values.get(name),
      (name, value) => values.set(name, value),
    )
  },
  raise_exception: callable('message', (message) => {
    throw new Error(str(message))
  }),
  range: callable('start stop step', (first, second, third = 1n) => {
    const bounds = second === undefined ? [0n, first, third] : [first, second, third]
    const [start = 0, stop = 0, step = 0] = bounds.map(indexOf)
    if (step === 0) throw new Error('the step of a range is 0')
    const count = Math.max(0, Math.ceil((stop - start) / step))
    if (count > MOST_OF_RANGE) throw new Error(`a range of ${count} numbers is longer than ${MOST_OF_RANGE}`)
    return Array.from({ length: count }, (_, i) => BigInt(start + i * step))
  }),
  strftime_now: callable('format', (format) => {
    return stringOf(format).replace(/%(-?)([a-zA-Z%])/g, (whole, isShort: string, letter: string) => {
      const text = TEMPLATE_DATE[letter] ?? whole
      return isShort ? text.replace(/^0/, '') : text
    })
  }),
}

/** Python's `dict` of a mapping and names. */
function dictionary([given]: readonly Value[], keywords: ReadonlyMap<string, Value>): Map<Value, Value> {
  const mapping = new Map(given instanceof Map ? given : [])
  for (const [name, value] of keywords) mapping.set(name, value)
  return mapping
}

/**
 * "Today" of templates that print a date, by the letters of strftime: 26 July 2024, the day that Llama's own templates fall
 * back to. A real clock would change the tokens, and with them the hash of a data set, from one day to the next.
 */
const TEMPLATE_DATE: Readonly<Record<string, string>> = {
  '%': '%',
  A: 'Friday',
  B: 'July',
  H: '00',
  M: '00',
  S: '00',
  Y: '2024',
  a: 'Fri',
  b: 'Jul',
  d: '26',
  m: '07',
  y: '24',
}
