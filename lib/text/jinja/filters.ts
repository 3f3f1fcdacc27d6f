/** Filters, as Jinja and transformers have them. */
import { memberOf, methodOf, pairsOf, splitLines } from '../python/methods.js'
import { formatted, json, str } from '../python/text.js'
import {
  bind,
  equals,
  indexOf,
  isLess,
  isTrue,
  itemsOf,
  numberOf,
  stringOf,
  tuple,
  typeName,
  type Value,
} from '../python/values.js'
import { operate } from './operators.js'
import { testOf } from './predicates.js'

/** `none` counts as an argument that is not given. */
const isAbsent = (value: Value) => value === undefined || value === null

type Filter = readonly [parameters: string, apply: (value: Value, ...args: Value[]) => Value]

/** @throws Error where there is no filter of that name */
export function applyFilter(
  name: string,
  value: Value,
  args: Value[],
  keywords: ReadonlyMap<string, Value> = new Map(),
): Value {
  if (Object.hasOwn(METHODS, name)) return methodOf(str(value), METHODS[name]!)!(args, keywords)
  if (!Object.hasOwn(filters, name)) throw new Error(`there is no filter ${name}`)
  const [parameters, apply] = filters[name]!
  return apply(value, ...bind(parameters, args, keywords))
}

/** Filters that are methods of strings, with the names of these. */
const METHODS: Readonly<Record<string, string>> = {
  capitalize: 'capitalize',
  lower: 'lower',
  replace: 'replace',
  trim: 'strip',
  upper: 'upper',
}

/** As in Jinja, `map` and `select` take anything false for an empty list. */
const itemsIfAny = (value: Value) => (isTrue(value) ? itemsOf(value) : [])

/** `select`, `reject`, `selectattr` and `rejectattr`: keep items by a test of them or of an attribute. */
const chosen = (isWanted: boolean, byAttribute: boolean): Filter => [
  '*',
  (value, given) => {
    const args = itemsOf(given)
    const [name, ...others] = byAttribute ? args.slice(1) : args
    const test = name === undefined ? isTrue : testOf(stringOf(name))
    return itemsIfAny(value).filter((item) => {
      return test(byAttribute ? attributeOf(item, args[0]) : item, ...others) === isWanted
    })
  },
]

/** Returns an attribute by its name, index or path, such as `a.b` and `0.a`; the value itself without a path. */
function attributeOf(value: Value, path: Value): Value {
  if (isAbsent(path)) return value
  if (typeof path === 'bigint') return memberOf(value, path, true)
  let found = value
  for (const part of stringOf(path).split('.')) {
    found = memberOf(found, /^\d+$/.test(part) && Array.isArray(found) ? BigInt(part) : part, true)
  }
  return found
}

/** Returns the key for sorting items: attributes with commas between them, in lower case unless case matters. */
const keyOf = (attributes: Value, caseSensitive: Value) => {
  const paths = typeof attributes === 'string' ? attributes.split(',') : [attributes]
  return (item: Value): Value =>
    paths.map((path) => {
      const key = attributeOf(item, path)
      return typeof key === 'string' && !isTrue(caseSensitive) ? key.toLowerCase() : key
    })
}

function sorted(value: Value, key: (item: Value) => Value, isReversed: boolean): Value[] {
  const keyed = itemsOf(value).map((item) => ({ item, key: key(item) }))
  const order = (a: Value, b: Value) => Number(isLess(b, a)) - Number(isLess(a, b))
  keyed.sort((a, b) => (isReversed ? order(b.key, a.key) : order(a.key, b.key)))
  return keyed.map(({ item }) => item)
}

const extreme = (isLargest: boolean): Filter => [
  'case_sensitive attribute',
  (value, caseSensitive, attribute) => sorted(value, keyOf(attribute, caseSensitive), isLargest)[0],
]

const filters: Readonly<Record<string, Filter>> = {
  abs: ['', (value) => operate('*', value, isLess(value, 0n) ? -1n : 1n)],
  count: ['', lengthOf],
  d: ['default_value boolean', valueOr],
  default: ['default_value boolean', valueOr],
  dictsort: [
    'case_sensitive by reverse',
    (value, caseSensitive, by, reverse) =>
      sorted(pairsIn(value), keyOf(by === 'value' ? 1n : 0n, caseSensitive), isTrue(reverse)),
  ],
  first: ['', (value) => itemsOf(value)[0]],
  float: [
    'default',
    (value, fallback = 0) => {
      const number = floatOf(value)
      return Number.isNaN(number) ? fallback : number
    },
  ],
  format: ['*', (value, args) => formatted(str(value), tuple(itemsOf(args)))],
  indent: ['width first blank', indented],
  int: ['default', integerOf],
  items: ['', (value) => (value === undefined ? [] : pairsIn(value))],
  join: [
    'd attribute',
    (value, separator, attribute) => {
      return itemsOf(value)
        .map((item) => str(attributeOf(item, attribute)))
        .join(str(separator))
    },
  ],
  last: ['', (value) => itemsOf(value).at(-1)],
  length: ['', lengthOf],
  list: ['', (value) => [...itemsOf(value)]],
  map: [
    '* attribute default',
    (value, given, attribute, fallback) => {
      const [name, ...args] = itemsOf(given)
      if (name !== undefined) return itemsIfAny(value).map((item) => applyFilter(stringOf(name), item, args))
      return itemsIfAny(value).map((item) => attributeOf(item, attribute) ?? fallback)
    },
  ],
  max: extreme(true),
  min: extreme(false),
  reject: chosen(false, false),
  rejectattr: chosen(false, true),
  reverse: ['', (value) => (typeof value === 'string' ? [...value].reverse().join('') : [...itemsOf(value)].reverse())],
  safe: ['', (value) => value],
  select: chosen(true, false),
  selectattr: chosen(true, true),
  sort: [
    'reverse case_sensitive attribute',
    (value, reverse, caseSensitive, attribute) => sorted(value, keyOf(attribute, caseSensitive), isTrue(reverse)),
  ],
  string: ['', str],
  sum: [
    'attribute start',
    (value, attribute, start = 0n) =>
      itemsOf(value).reduce((sum, item) => operate('+', sum, attributeOf(item, attribute)), start),
  ],
  title: [
    '',
    (value) => str(value).replace(/[^-\s({[<]+/g, (word) => word[0]!.toUpperCase() + word.slice(1).toLowerCase()),
  ],
  tojson: [
    'ensure_ascii indent separators sort_keys',
    (value, asciiOnly, indent, separators, sortsKeys) =>
      json(value, {
        asciiOnly: isTrue(asciiOnly),
        indent: typeof indent === 'string' ? indent : indexOf(indent),
        separators: isAbsent(separators) ? undefined : itemsOf(separators).map(str),
        sortsKeys: isTrue(sortsKeys),
      }),
  ],
  unique: [
    'case_sensitive attribute',
    (value, caseSensitive, attribute) => {
      const items = itemsOf(value)
      const keys = items.map(keyOf(attribute, caseSensitive))
      return items.filter((_, i) => keys.findIndex((key) => equals(key, keys[i])) === i)
    },
  ],
}

function lengthOf(value: Value): bigint {
  return BigInt(value instanceof Map ? value.size : itemsOf(value).length)
}

function valueOr(value: Value, fallback: Value = '', alsoFalse: Value = false): Value {
  return value === undefined || (isTrue(alsoFalse) && !isTrue(value)) ? fallback : value
}

function pairsIn(value: Value): Value[] {
  if (value instanceof Map) return pairsOf(value)
  throw new Error(`expected a mapping but received ${typeName(value)}`)
}

function floatOf(value: Value): number {
  if (typeof value === 'string') return value.trim() === '' ? Number.NaN : Number(value)
  return Number(numberOf(value) ?? Number.NaN)
}

function integerOf(value: Value, fallback: Value = 0n): Value {
  if (typeof value === 'bigint') return value
  const number = floatOf(value)
  return Number.isFinite(number) ? BigInt(Math.trunc(number)) : fallback
}

function indented(value: Value, width: Value = 4n, first: Value = false, blank: Value = false): Value {
  const space = typeof width === 'string' ? width : ' '.repeat(indexOf(width) ?? 0)
  const isIndented = (line: string, i: number) => (i === 0 ? isTrue(first) : line !== '' || isTrue(blank))
  return splitLines(`${stringOf(value)}\n`)
    .map((line, i) => (isIndented(line, i) ? space + line : line))
    .join('\n')
}
