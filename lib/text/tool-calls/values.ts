/** Reads values in the syntaxes of calls. */

import { isObject } from '../../common/arguments.js'
import { jsonIn } from '../../io/json.js'
import { PYTHON_WORDS, type ValueSyntax } from './forms.js'
import { type GrowingText, NotACall, type Reading, SPACE } from './growing-text.js'

/** A value, and its JSON with the spelling of its numbers. */
export interface WrittenValue {
  readonly value: unknown
  readonly json: string
}

const MOST_DEPTH = 100
const WORD = /[-+.\w]*/y
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/
/** Matches characters of a string up to its end, an escape or an invalid character. */
const PLAIN = { json: /[^"\\\n]*/y, python: /[^'"\\]*/y }
const PYTHON_ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', '\n': '' }

/** Reads a value and the white space before it. */
export function* readValue(text: GrowingText, syntax: ValueSyntax, depth = 0): Reading<WrittenValue> {
  if (depth > MOST_DEPTH) throw new NotACall()
  yield* text.run(SPACE)
  const quote = yield* openQuote(text, syntax)
  if (quote !== undefined) return string(yield* restOfString(text, syntax, quote))
  if (yield* text.has('{')) return yield* readObject(text, syntax, depth)
  if (yield* text.has('[')) {
    const items: WrittenValue[] = []
    for (yield* text.run(SPACE); !(yield* text.has(']')); yield* text.run(SPACE)) {
      if (items.length > 0) yield* text.expect(',')
      items.push(yield* readValue(text, syntax, depth + 1))
    }
    return { value: items.map(({ value }) => value), json: `[${items.map(({ json }) => json).join(', ')}]` }
  }
  const word = yield* text.run(WORD)
  const known = syntax.words[word]
  if (Object.hasOwn(syntax.words, word)) return { value: known, json: String(known) }
  if (NUMBER.test(word)) return { value: Number(word), json: word }
  throw new NotACall()
}

/** Reads an object after its brace. */
function* readObject(text: GrowingText, syntax: ValueSyntax, depth: number): Reading<WrittenValue> {
  const entries: [string, WrittenValue][] = []
  for (yield* text.run(SPACE); !(yield* text.has('}')); yield* text.run(SPACE)) {
    if (entries.length > 0) yield* text.expect(',')
    const key = yield* readKey(text, syntax)
    entries.push([key, yield* readValue(text, syntax, depth + 1)])
  }
  return objectOf(entries)
}

/** Reads a key of an object, the white space before it and the colon after it. */
export function* readKey(text: GrowingText, syntax: ValueSyntax): Reading<string> {
  yield* text.run(SPACE)
  if (syntax.bareKeys) return yield* text.until(':')
  const quote = yield* openQuote(text, syntax)
  if (quote === undefined) throw new NotACall()
  const key = yield* restOfString(text, syntax, quote)
  yield* text.run(SPACE)
  yield* text.expect(':')
  return key
}

/** Returns the object of values by key. */
export function objectOf(entries: readonly (readonly [string, WrittenValue])[]): WrittenValue {
  return {
    value: Object.fromEntries(entries.map(([key, { value }]) => [key, value])),
    json: `{${entries.map(([key, { json }]) => `${JSON.stringify(key)}: ${json}`).join(', ')}}`,
  }
}

const string = (value: string): WrittenValue => ({ value, json: JSON.stringify(value) })

function* openQuote(text: GrowingText, { quotes }: ValueSyntax): Reading<string | undefined> {
  for (const quote of quotes) if (yield* text.has(quote)) return quote
  return undefined
}

function* restOfString(text: GrowingText, { escapes }: ValueSyntax, quote: string): Reading<string> {
  if (escapes === 'none') return yield* text.until(quote)
  const start = text.at
  for (;;) {
    yield* text.run(PLAIN[escapes])
    const end = text.at
    if (yield* text.has(quote)) {
      const raw = text.since(start).slice(0, end - start)
      const said = escapes === 'json' ? jsonIn(`"${raw}"`) : withoutEscapes(raw)
      if (typeof said !== 'string') throw new NotACall()
      return said
    }
    if (!(yield* text.has('\\')) && escapes === 'json') throw new NotACall()
    if (yield* text.isAtEnd()) throw new NotACall()
    text.at++
  }
}

/** Python keeps the backslash of an escape that it does not know. */
function withoutEscapes(raw: string): string {
  return raw.replace(/\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|(.))/gs, (all, byte, unit, letter) => {
    if (letter === undefined) return String.fromCharCode(Number.parseInt(byte ?? unit, 16))
    return PYTHON_ESCAPES[letter] ?? (/['"\\]/.test(letter) ? letter : all)
  })
}

/** Returns the value of a raw text by the type in the schema. */
export function valueOfRaw(raw: string, schema: unknown): WrittenValue {
  const types = typesOf(schema)
  if (types?.every((type) => type === 'string')) return string(raw)
  const word = raw.trim()
  const value = Object.hasOwn(PYTHON_WORDS, word) ? PYTHON_WORDS[word as keyof typeof PYTHON_WORDS] : jsonIn(word)
  const isMeant =
    value !== undefined && typeof value !== 'string' && (types === undefined || types.includes(typeOf(value)))
  if (!isMeant) return string(raw)
  return { value, json: typeof value === 'boolean' || value === null ? String(value) : word }
}

/** Returns the types that a schema allows, integers as numbers; undefined without types. */
function typesOf(schema: unknown): readonly string[] | undefined {
  if (!isObject(schema)) return undefined
  const { type, anyOf, oneOf, enum: values } = schema
  const isGiven = 'const' in schema
  if (type !== undefined) return [type].flat().map((one) => (one === 'integer' ? 'number' : String(one)))
  if (isGiven || Array.isArray(values)) return (isGiven ? [schema.const] : (values as unknown[])).map(typeOf)
  const parts = [anyOf, oneOf].find(Array.isArray)?.map(typesOf)
  return parts?.every((part) => part !== undefined) ? parts.flat() : undefined
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}
