/** Changes of JSON values: other types, absurd numbers, keys that mean something to JavaScript, lost and doubled parts. */
import { mutateText } from './mutate-text.js'
import { chance, choose, few, pick, type Random } from './random.js'

const oddNumbers = [
  0,
  -1,
  1,
  2,
  0.5,
  -0.5,
  1e-320,
  127,
  65536,
  1e6,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  1e10,
  2 ** 53,
  2 ** 60,
  1e300,
  -1e300,
]

export const oddStrings = [
  '',
  ' ',
  '__proto__',
  'constructor',
  'toString',
  '../../../../etc/passwd',
  '/etc/passwd',
  '..\\x',
  'a/../../b',
  '\0',
  '\u001b]0;x\u0007',
  '\u009b2J\u202e\r\n',
  '\ud800',
  '\u2028',
  '😀'.repeat(3000),
  '(a+)+$',
  '(',
  '[\\p{L}',
  '{{ 1 }}',
  '{% for i in range(999999999) %}{{ i }}{% endfor %}',
  '%s%n',
  'x'.repeat(2000),
  '9'.repeat(400),
  'NaN',
  'true',
]

/** Placeholder in a text for a value that is nested deeper than any stack. */
const DEEP = '"nested deeply"'

/** A changed copy of a value; sometimes its text is no JSON any more. */
export function mutatedJson(random: Random, json: unknown): string {
  let changed: unknown = structuredClone(json)
  for (let times = few(random); times > 0; times--) changed = changedOnce(random, changed)
  const text = (JSON.stringify(changed) ?? 'null').replace(DEEP, `${'['.repeat(20_000)}${']'.repeat(20_000)}`)
  return choose(random, [
    [8, () => text],
    [1, () => mutateText(random, text)],
    [1, () => withDoubledKey(random, text)],
    [0.3, () => '['.repeat(20_000) + text],
  ])
}

interface Place {
  holder: Record<string, unknown>
  key: string
}

/** A place at a small depth: otherwise long lists such as vocabularies would get every change. */
function placeIn(random: Random, root: Record<string, unknown>): Place | null {
  let holder = root
  for (;;) {
    const keys = Object.keys(holder)
    if (keys.length === 0) return null
    const key = pick(random, keys)
    const value = holder[key]
    if (typeof value !== 'object' || value === null || Object.keys(value).length === 0 || chance(random, 0.15))
      return { holder, key }
    holder = value as Record<string, unknown>
  }
}

function changedOnce(random: Random, json: unknown): unknown {
  const place = typeof json === 'object' && json !== null ? placeIn(random, json as Record<string, unknown>) : null
  if (!place) return oddValue(random)
  const { holder, key } = place
  const value = holder[key]
  choose(random, [
    [3, () => put(holder, key, near(random, value))],
    [3, () => put(holder, key, oddValue(random))],
    [2, () => removed(holder, key)],
    [1, () => renamed(holder, key, pick(random, oddStrings))],
    [1, () => added(holder, pick(random, [...oddStrings, 'type', 'model', 'data', `${key}2`]), oddValue(random))],
    [1, () => exchanged(random, holder, key)],
    [1, () => put(holder, key, [value, value])],
    [1, () => put(holder, key, { [pick(random, [key, ...oddStrings])]: value })],
  ])
  return json
}

function put(holder: Record<string, unknown>, key: string, value: unknown): void {
  holder[key] = value
}

/** A value of the same type. */
function near(random: Random, value: unknown): unknown {
  if (typeof value === 'number')
    return pick(random, [...oddNumbers, value + 1, value - 1, value * 2, -value, value / 2, value * 1e6])
  if (typeof value === 'string')
    return pick(random, [...oddStrings, `${value} `, value.slice(1), value + value, value.toUpperCase()])
  if (typeof value === 'boolean') return !value
  if (Array.isArray(value))
    return pick(random, [[], value.slice(1), value.slice(0, -1), [...value, ...value], value.toReversed()])
  return oddValue(random)
}

function oddValue(random: Random): unknown {
  return choose<unknown>(random, [
    [4, () => pick(random, oddNumbers)],
    [4, () => pick(random, oddStrings)],
    [1, () => null],
    [1, () => pick(random, [true, false])],
    [1, () => pick(random, [[], {}, [null], [[]], { a: 1 }])],
    [0.3, () => nested(600)],
    [0.3, () => DEEP.slice(1, -1)],
    [0.3, () => Array.from({ length: 3000 }, (_, i) => i)],
  ])
}

function nested(depth: number): unknown {
  let value: unknown = 1
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value }
  return value
}

function removed(holder: Record<string, unknown>, key: string): void {
  if (Array.isArray(holder)) holder.splice(Number(key), 1)
  else delete holder[key]
}

function renamed(holder: Record<string, unknown>, key: string, name: string): void {
  const value = holder[key]
  removed(holder, key)
  added(holder, name, value)
}

/** Sets an own key, even if it is called `__proto__`. */
function added(holder: Record<string, unknown>, name: string, value: unknown): void {
  if (Array.isArray(holder)) holder.push(value)
  else Object.defineProperty(holder, name, { value, enumerable: true, writable: true, configurable: true })
}

function exchanged(random: Random, holder: Record<string, unknown>, key: string): void {
  const other = pick(random, Object.keys(holder))
  const value = holder[key]
  holder[key] = holder[other]
  holder[other] = value
}

function withDoubledKey(random: Random, text: string): string {
  const entries = [...text.matchAll(/"[^"\\]{1,40}":/g)].map(([entry]) => entry)
  if (entries.length === 0) return text
  const entry = pick(random, entries)
  return text.replace(entry, `${entry}${JSON.stringify(oddValue(random))},${entry}`)
}
