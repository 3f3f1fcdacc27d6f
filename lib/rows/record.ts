import { isJsonObject } from '../io/json.js'

/** One value of a data file, not yet known to be a row. */
export interface DataRecord {
  value: unknown
  /** The record's place, for errors: `train.jsonl:12`. */
  where: string
  /** The JSON text of the record, if there is one; it has the spelling of numbers. */
  json?: string
  /** The row as `exactColumns` returns it, if it was read from a file that is not JSON and whose numbers have types. */
  exact?: Readonly<Record<string, unknown>>
}

/** Returns the approximate number of characters of a record. */
export function charactersOf({ value, json }: DataRecord): number {
  return json?.length ?? charactersIn(value)
}

/**
 * Maximum depth at which texts are counted: enough for the arguments of a call, and a bound for rows that contain themselves.
 */
const LEVELS = 8

function charactersIn(value: unknown, level = 0): number {
  if (typeof value === 'string') return value.length
  if (ArrayBuffer.isView(value)) return value.byteLength
  if (level === LEVELS) return 1
  const parts = Array.isArray(value) ? value : isJsonObject(value) ? Object.values(value) : []
  return parts.reduce((sum: number, part) => sum + charactersIn(part, level + 1), 1)
}
