/** Methods of strings, mappings and lists, attributes and slices, as Python has them. */
import { str } from './text.js'
import {
  Attributes,
  bind,
  type Callable,
  equals,
  indexOf,
  itemsOf,
  stringOf,
  Tuple,
  tuple,
  typeName,
  type Value,
} from './values.js'

/** Python's whitespace. */
const SPACE =
  '\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000'
const WORD = new RegExp(`[^${SPACE}]+`, 'g')
const BLANK = new RegExp(`^[${SPACE}]+$`)
const LINE_ENDS = '\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029'
const LINE_END = new RegExp(`\r\n|[${LINE_ENDS}]`)

type Side = 'both' | 'start' | 'end'

/** Python's `strip`, `lstrip` and `rstrip`. */
export function strip(text: string, characters = SPACE, side: Side = 'both'): string {
  // A character beyond 16 bits takes two places of a string.
  const units = /[\ud800-\udfff]/.test(characters) ? [...text] : text
  let start = 0
  let end = units.length
  if (side !== 'end') while (start < end && characters.includes(units[start]!)) start++
  if (side !== 'start') while (end > start && characters.includes(units[end - 1]!)) end--
  const kept = units.slice(start, end)
  return typeof kept === 'string' ? kept : kept.join('')
}

export function capitalize(text: string): string {
  const [first = '', ...rest] = text
  return first.toUpperCase() + rest.join('').toLowerCase()
}

/** Methods by name, each with the names of its parameters for `bind`. */
type Methods<Owner> = Readonly<Record<string, readonly [string, (owner: Owner, ...args: Value[]) => Value]>>
type StringMethod = Methods<string>[string]

export const isLower = (text: string) => text !== text.toUpperCase() && text === text.toLowerCase()
export const isUpper = (text: string) => text !== text.toLowerCase() && text === text.toUpperCase()
const isEvery = (pattern: RegExp): StringMethod => ['', (text) => pattern.test(text)]

const stripped = (side: Side): StringMethod => [
  'chars',
  (text, chars) => strip(text, chars === undefined || chars === null ? undefined : stringOf(chars), side),
]

/** A method whose argument is another string. */
const paired = (call: (text: string, other: string) => Value): StringMethod => [
  'other',
  (text, other) => call(text, stringOf(other)),
]

/** The argument may be a tuple of strings. */
const affixed = (test: (text: string, affix: string) => boolean): StringMethod => [
  'affix',
  (text, affix) => (Array.isArray(affix) ? affix : [affix]).some((one) => test(text, stringOf(one))),
]

const stringMethods: Methods<string> = {
  upper: ['', (text) => text.toUpperCase()],
  lower: ['', (text) => text.toLowerCase()],
  casefold: ['', (text) => text.toLowerCase()],
  title: ['', (text) => text.replace(/\p{L}+/gu, capitalize)],
  capitalize: ['', capitalize],
  strip: stripped('both'),
  lstrip: stripped('start'),
  rstrip: stripped('end'),
  startswith: affixed((text, affix) => text.startsWith(affix)),
  endswith: affixed((text, affix) => text.endsWith(affix)),
  removeprefix: paired((text, prefix) => (text.startsWith(prefix) ? text.slice(prefix.length) : text)),
  removesuffix: paired((text, suffix) => (text.endsWith(suffix) ? text.slice(0, text.length - suffix.length) : text)),
  replace: ['old new count', (text, old, by, count) => replace(text, stringOf(old), stringOf(by), indexOf(count))],
  split: ['sep maxsplit', (text, separator, most) => split(text, separator, indexOf(most))],
  rsplit: ['sep maxsplit', (text, separator, most) => rsplit(text, separator, indexOf(most))],
  splitlines: ['', splitLines],
  partition: paired((text, separator) => partition(text, separator, text.indexOf(separator)) ?? tuple([text, '', ''])),
  rpartition: paired(
    (text, separator) => partition(text, separator, text.lastIndexOf(separator)) ?? tuple(['', '', text]),
  ),
  join: ['iterable', (text, items) => itemsOf(items).map(stringOf).join(text)],
  find: paired((text, part) => placeOf(text, text.indexOf(part))),
  rfind: paired((text, part) => placeOf(text, text.lastIndexOf(part))),
  count: paired((text, part) => BigInt(part === '' ? [...text].length + 1 : text.split(part).length - 1)),
  isspace: isEvery(BLANK),
  isdigit: isEvery(/^\p{Nd}+$/u),
  isnumeric: isEvery(/^\p{N}+$/u),
  isalpha: isEvery(/^\p{L}+$/u),
  isalnum: isEvery(/^[\p{L}\p{N}]+$/u),
  isupper: ['', isUpper],
  islower: ['', isLower],
}

const mappingMethods: Methods<Map<Value, Value>> = {
  get: ['key default', (mapping, key, fallback = null) => (mapping.has(key) ? mapping.get(key) : fallback)],
  items: ['', pairsOf],
  keys: ['', (mapping) => [...mapping.keys()]],
  values: ['', (mapping) => [...mapping.values()]],
}

const listMethods: Methods<Value[]> = {
  count: ['value', (list, value) => BigInt(list.filter((item) => equals(item, value)).length)],
  index: [
    'value',
    (list, value) => {
      const at = list.findIndex((item) => equals(item, value))
      if (at < 0) throw new Error(`a list has no ${str(value)}`)
      return BigInt(at)
    },
  ],
}

/** Returns a method of a string, list or mapping; undefined if there is none. As in transformers, none modifies its object. */
export function methodOf(object: Value, name: string): Callable | undefined {
  if (object instanceof Map) return methodIn(mappingMethods, object, name)
  if (Array.isArray(object)) return methodIn(listMethods, object, name)
  if (typeof object !== 'string') return undefined
  return name === 'format' ? (args, keywords) => braced(object, args, keywords) : methodIn(stringMethods, object, name)
}

function methodIn<Owner>(methods: Methods<Owner>, owner: Owner, name: string): Callable | undefined {
  if (!Object.hasOwn(methods, name)) return undefined
  const [parameters, call] = methods[name]!
  return (args, keywords) => call(owner, ...bind(parameters, args, keywords))
}

export function pairsOf(mapping: ReadonlyMap<Value, Value>): Value[] {
  return [...mapping].map(tuple)
}

/** At most `count` times, from the left. */
function replace(value: string, old: string, by: string, count = -1): string {
  if (count < 0) return old === '' ? ['', ...value, ''].join(by) : value.replaceAll(old, () => by)
  const parts = old === '' ? ['', ...value, ''] : value.split(old)
  const replaced = parts.slice(0, count + 1)
  const rest = parts.slice(count + 1)
  return [replaced.join(by), ...rest].join(old)
}

/** Returns the words between white space. */
export const splitWords = (text: string): string[] => text.match(WORD) ?? []

function split(value: string, separator: Value, most = -1): string[] {
  const all = separatorOf(separator)
  if (all === undefined) {
    const words = [...value.matchAll(WORD)]
    if (most < 0 || words.length <= most) return words.map(([word]) => word)
    return [...words.slice(0, most).map(([word]) => word), value.slice(words[most]!.index)]
  }
  const parts = value.split(all)
  return most < 0 || parts.length <= most ? parts : [...parts.slice(0, most), parts.slice(most).join(all)]
}

function rsplit(value: string, separator: Value, most = -1): string[] {
  const all = separatorOf(separator)
  const parts = all === undefined ? split(value, undefined) : value.split(all)
  if (most < 0 || parts.length <= most) return parts
  const last = most === 0 ? [] : parts.slice(-most)
  if (all !== undefined) return [parts.slice(0, parts.length - most).join(all), ...last]
  const words = [...value.matchAll(WORD)]
  const before = words[words.length - most - 1]!
  return [value.slice(0, before.index + before[0].length), ...last]
}

function separatorOf(separator: Value): string | undefined {
  if (separator === undefined || separator === null) return undefined
  if (separator === '') throw new Error('a string cannot be split at nothing')
  return stringOf(separator)
}

export function splitLines(text: string): string[] {
  const lines = text.split(LINE_END)
  return lines.at(-1) === '' ? lines.slice(0, -1) : lines
}

function partition(text: string, separator: string, at: number): Value[] | undefined {
  return at < 0 ? undefined : tuple([text.slice(0, at), separator, text.slice(at + separator.length)])
}

/** Python's index, in code points, of an index in UTF-16 units. */
function placeOf(text: string, at: number): bigint {
  return BigInt(at < 0 ? at : [...text.slice(0, at)].length)
}

/** `str.format`: fills in `{}`, `{0}` and `{name}`; formats after a colon are refused. */
function braced(text: string, args: readonly Value[], keywords: ReadonlyMap<string, Value>): string {
  let next = 0
  return text.replace(/\{\{|\}\}|\{([^{}]*)\}/g, (whole, field: string | undefined) => {
    if (field === undefined) return whole[0]!
    const found = field === '' ? args[next++] : (args[Number(field)] ?? keywords.get(field))
    if (found === undefined) throw new Error(`a format has no value for ${whole}`)
    return str(found)
  })
}

/** Python's slices of a string, a list or a tuple. */
export function sliced(object: Value, start: number | undefined, stop: number | undefined, step = 1): Value {
  if (typeof object !== 'string' && !Array.isArray(object)) throw new Error(`${typeName(object)} has no slices`)
  if (step === 0) throw new Error('the step of a slice is 0')
  const items = itemsOf(object)
  const [least, most] = step > 0 ? [0, items.length] : [-1, items.length - 1]
  const clamped = (place: number) => Math.max(least, Math.min(most, place < 0 ? place + items.length : place))
  const first = start === undefined ? (step > 0 ? least : most) : clamped(start)
  const end = stop === undefined ? (step > 0 ? most : least) : clamped(stop)
  const taken: Value[] = []
  for (let i = first; step > 0 ? i < end : i > end; i += step) taken.push(items[i])
  if (typeof object === 'string') return taken.join('')
  return object instanceof Tuple ? tuple(taken) : taken
}

/**
 * Returns `object.name`, which prefers methods to keys, or `object[key]`, which prefers keys; undefined if there is neither.
 */
export function memberOf(object: Value, key: Value, isSubscript: boolean): Value {
  const method = () => (typeof key === 'string' ? methodOf(object, key) : undefined)
  if (object instanceof Map) {
    if (isSubscript) return object.has(key) ? object.get(key) : method()
    return method() ?? object.get(key)
  }
  if (object instanceof Attributes) return typeof key === 'string' ? object.get(key) : undefined
  const place = typeof key === 'bigint' || typeof key === 'boolean' ? Number(key) : undefined
  if (place === undefined) return method()
  return typeof object === 'string' || Array.isArray(object) ? itemsOf(object).at(place) : undefined
}
