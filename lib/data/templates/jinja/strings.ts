/** Methods of strings and mappings, as Python has them. */
import { str } from './text.js'
import {
  ArrayValue,
  BooleanValue,
  functionOf,
  IntegerValue,
  isInteger,
  isList,
  isMapping,
  isNone,
  isText,
  isUndefined,
  NullValue,
  StringValue,
  TupleValue,
  type Value,
} from './values.js'

/** What `str.strip` removes by itself. */
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'
const SPACES_BEFORE = new RegExp(`^[${SPACE}]+`)
const SPACES_AFTER = new RegExp(`[${SPACE}]+$`)
const WORD = new RegExp(`[^${SPACE}]+`, 'g')
const BLANK = new RegExp(`^[${SPACE}]+$`)
const LINE_ENDS = '\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029'
const LINE_END = new RegExp(`\\r\\n|[${LINE_ENDS}]`)

export type Side = 'both' | 'start' | 'end'

/** Python's `strip`, `lstrip` and `rstrip`. */
export function strip(text: string, characters: string | undefined, side: Side = 'both'): string {
  if (characters === undefined) {
    const started = side === 'end' ? text : text.replace(SPACES_BEFORE, '')
    return side === 'start' ? started : trimEnd(started)
  }
  const units = [...text]
  let start = 0
  let end = units.length
  if (side !== 'end') while (start < end && characters.includes(units[start]!)) start++
  if (side !== 'start') while (end > start && characters.includes(units[end - 1]!)) end--
  return units.slice(start, end).join('')
}

/** A pattern that ends on `$` is tried at every space of a text. */
function trimEnd(text: string): string {
  const tail = text.length - text.trimEnd().length + 64
  const head = Math.max(0, text.length - tail)
  const cut = text.slice(head).replace(SPACES_AFTER, '')
  return cut === '' && head > 0 ? trimEnd(text.slice(0, head)) : text.slice(0, head) + cut
}

export function capitalize(text: string): string {
  const [first = '', ...rest] = text
  return first.toUpperCase() + rest.join('').toLowerCase()
}

export function titleCase(text: string): string {
  return text.replace(/\p{L}+/gu, capitalize)
}

type Method = (text: string, args: Value[], keywords: Map<string, Value>) => Value

const text = (value: string): Value => new StringValue(value)
const truth = (value: boolean): Value => new BooleanValue(value)
const list = (values: readonly string[]): Value => new ArrayValue(values.map(text))

const plain =
  (change: (value: string) => string): Method =>
  (value) =>
    text(change(value))

const stripped =
  (side: Side): Method =>
  (value, [characters]) =>
    text(strip(value, isNone(characters) ? undefined : characters && textOf(characters), side))

const affixed =
  (test: (value: string, affix: string) => boolean): Method =>
  (value, [affix]) => {
    const affixes = isList(affix) ? affix.value : [affix!]
    return truth(affixes.some((one) => test(value, textOf(one))))
  }

const methods: Record<string, Method> = {
  upper: plain((value) => value.toUpperCase()),
  lower: plain((value) => value.toLowerCase()),
  casefold: plain((value) => value.toLowerCase()),
  title: plain(titleCase),
  capitalize: plain(capitalize),
  strip: stripped('both'),
  lstrip: stripped('start'),
  rstrip: stripped('end'),
  startswith: affixed((value, affix) => value.startsWith(affix)),
  endswith: affixed((value, affix) => value.endsWith(affix)),
  removeprefix: (value, [prefix]) =>
    text(value.startsWith(textOf(prefix)) ? value.slice(textOf(prefix).length) : value),
  removesuffix: (value, [suffix]) =>
    text(suffix && value.endsWith(textOf(suffix)) ? value.slice(0, value.length - textOf(suffix).length) : value),
  replace: (value, [old, by, count], keywords) =>
    text(replace(value, textOf(old), textOf(by), countOf(count ?? keywords.get('count')))),
  split: (value, [separator, most], keywords) =>
    list(split(value, separator ?? keywords.get('sep'), countOf(most ?? keywords.get('maxsplit')))),
  rsplit: (value, [separator, most], keywords) =>
    list(rsplit(value, separator ?? keywords.get('sep'), countOf(most ?? keywords.get('maxsplit')))),
  splitlines: (value) => {
    const lines = value.split(LINE_END)
    if (lines.at(-1) === '') lines.pop()
    return list(lines)
  },
  partition: (value, [separator]) => partition(value, value.indexOf(textOf(separator)), textOf(separator)),
  rpartition: (value, [separator]) => partition(value, value.lastIndexOf(textOf(separator)), textOf(separator), true),
  join: (value, [items]) => text(itemsOf(items!).map(textOf).join(value)),
  find: (value, [part]) => new IntegerValue(placeOf(value, value.indexOf(textOf(part)))),
  rfind: (value, [part]) => new IntegerValue(placeOf(value, value.lastIndexOf(textOf(part)))),
  count: (value, [part]) => new IntegerValue(value.split(textOf(part)).length - 1),
  isspace: (value) => truth(BLANK.test(value)),
  isdigit: (value) => truth(/^\p{Nd}+$/u.test(value)),
  isnumeric: (value) => truth(/^\p{N}+$/u.test(value)),
  isalpha: (value) => truth(/^\p{L}+$/u.test(value)),
  isalnum: (value) => truth(/^[\p{L}\p{N}]+$/u.test(value)),
  isupper: (value) => truth(value !== value.toLowerCase() && value === value.toUpperCase()),
  islower: (value) => truth(value !== value.toUpperCase() && value === value.toLowerCase()),
  format: (value, args, keywords) => text(braced(value, args, keywords)),
}

/** A method of a string; undefined where it has none of that name. */
export function stringMethod(value: string, name: string): Value | undefined {
  const method = Object.hasOwn(methods, name) ? methods[name]! : undefined
  return method && functionOf((args, keywords) => method(value, args, keywords))
}

/** A method of a mapping; undefined where it has none of that name. Those that would change it are not there. */
export function mappingMethod(mapping: Map<string, Value>, name: string): Value | undefined {
  const methods: Record<string, () => Value> = {
    get: () =>
      functionOf(
        ([key, fallback], keywords) =>
          (isText(key) ? mapping.get(key.value) : undefined) ?? fallback ?? keywords.get('default') ?? new NullValue(),
      ),
    items: () => functionOf(() => pairsOf(mapping)),
    keys: () => functionOf(() => list([...mapping.keys()])),
    values: () => functionOf(() => new ArrayValue([...mapping.values()])),
  }
  return Object.hasOwn(methods, name) ? methods[name]!() : undefined
}

export function pairsOf(mapping: Map<string, Value>): Value {
  return new ArrayValue([...mapping].map(([key, item]) => new TupleValue([text(key), item])))
}

/** What a loop over a value goes through. */
export function itemsOf(value: Value): Value[] {
  if (isList(value)) return value.value as Value[]
  if (isText(value)) return [...value.value].map(text)
  if (isMapping(value)) return [...value.value.keys()].map(text)
  if (isUndefined(value)) return []
  throw new Error(`${str(value)} cannot be looped over`)
}

/** At most `count` times, from the left. */
export function replace(value: string, old: string, by: string, count = -1): string {
  if (count < 0) return old === '' ? ['', ...value, ''].join(by) : value.replaceAll(old, () => by)
  const parts = old === '' ? ['', ...value, ''] : value.split(old)
  const replaced = parts.slice(0, count + 1)
  const rest = parts.slice(count + 1)
  return [replaced.join(by), ...rest].join(old)
}

function split(value: string, separator: Value | undefined, most = -1): string[] {
  const all = separatorOf(separator)
  if (all === undefined) {
    const words = [...value.matchAll(WORD)]
    if (most < 0 || words.length <= most) return words.map(([word]) => word)
    return [...words.slice(0, most).map(([word]) => word), trimEnd(value.slice(words[most]!.index))]
  }
  const parts = value.split(all)
  return most < 0 || parts.length <= most ? parts : [...parts.slice(0, most), parts.slice(most).join(all)]
}

function rsplit(value: string, separator: Value | undefined, most = -1): string[] {
  const all = separatorOf(separator)
  const parts = all === undefined ? split(value, undefined) : value.split(all)
  if (most < 0 || parts.length <= most) return parts
  const last = most === 0 ? [] : parts.slice(-most)
  if (all !== undefined) return [parts.slice(0, parts.length - most).join(all), ...last]
  const words = [...value.matchAll(WORD)]
  const before = words[words.length - most - 1]!
  return [strip(value.slice(0, before.index + before[0].length), undefined, 'start'), ...last]
}

function separatorOf(separator: Value | undefined): string | undefined {
  if (separator === undefined || isNone(separator)) return undefined
  if (separator.value === '') throw new Error('a text cannot be split at nothing')
  return textOf(separator)
}

function partition(value: string, at: number, separator: string, fromEnd = false): Value {
  const parts =
    at >= 0
      ? [value.slice(0, at), separator, value.slice(at + separator.length)]
      : fromEnd
        ? ['', '', value]
        : [value, '', '']
  return new TupleValue(parts.map(text))
}

/** Fills in `{}`, `{0}` and `{name}`; formats after a colon are refused. */
function braced(value: string, args: readonly Value[], keywords: ReadonlyMap<string, Value>): string {
  let next = 0
  return value.replace(/\{\{|\}\}|\{([^{}]*)\}/g, (whole, field: string | undefined) => {
    if (field === undefined) return whole[0]!
    const found = field === '' ? args[next++] : (args[Number(field)] ?? keywords.get(field))
    if (found === undefined) throw new Error(`there is no value for {${field}} of a format`)
    return str(found)
  })
}

function textOf(value: Value | undefined): string {
  if (isText(value)) return value.value
  throw new Error(`expected a text but received ${value ? str(value) || 'what has no value' : 'nothing'}`)
}

function countOf(value: Value | undefined): number | undefined {
  if (value === undefined || isNone(value)) return undefined
  if (isInteger(value)) return value.value
  throw new Error(`expected a whole number but received ${str(value)}`)
}

/** Python counts characters, not halves of them. */
function placeOf(value: string, at: number): number {
  return at < 0 ? at : [...value.slice(0, at)].length
}
