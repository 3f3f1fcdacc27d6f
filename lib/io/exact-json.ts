/** Parses JSON and keeps what JSON.parse loses: the spelling of numbers, integers of any size, and the order of keys. */
import { isJsonObject, jsonIn } from './json.js'
import { nestsTooDeep } from './json-scan.js'

/** Matches strings, and numbers outside of them. */
const LITERAL = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g
const INDEX = /^(?:0|[1-9]\d*)$/

/**
 * Returns the value of a text that JSON.parse accepts. Whole numbers written with a fraction or an exponent are `Number`
 * objects, integers past 2^53 are bigints, and an object with keys that JavaScript would move to the front, such as "2", is a
 * `Map`.
 */
export function parseExact(text: string): unknown {
  // With a letter before them, numbers keep their spelling and keys their order.
  const marked = text.replace(LITERAL, (literal) => (literal[0] === '"' ? `"s${literal.slice(1)}` : `"n${literal}"`))
  return unmarked(JSON.parse(marked))
}

/** Returns the exact value of a text; undefined if it is not JSON or nests too deep. */
export function exactJsonIn(text: string): unknown {
  return jsonIn(text) === undefined || nestsTooDeep(text) ? undefined : parseExact(text)
}

function unmarked(value: unknown): unknown {
  if (typeof value === 'string') return value[0] === 's' ? value.slice(1) : numberOf(value.slice(1))
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(unmarked)
  const entries = Object.entries(value).map(([key, item]) => [key.slice(1), unmarked(item)] as const)
  return entries.some(([key]) => INDEX.test(key)) ? new Map(entries) : Object.fromEntries(entries)
}

/** Returns the columns of a row exactly as in its JSON; undefined for a row without JSON or with too deep nesting. */
export function exactColumns(json: string | undefined): Record<string, unknown> | undefined {
  const row = json === undefined || nestsTooDeep(json) ? undefined : parseExact(json)
  if (row instanceof Map) return Object.fromEntries(row) as Record<string, unknown>
  return isJsonObject(row) ? row : undefined
}

function numberOf(token: string): number | bigint {
  const value = Number(token)
  if (/[.eE]/.test(token)) return Number.isInteger(value) ? Object(value) : value
  return Number.isSafeInteger(value) ? value : BigInt(token)
}
