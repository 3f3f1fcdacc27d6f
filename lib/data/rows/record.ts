import { isJsonObject } from '../../io/json.js'

/** One value of a data file, not yet known to be a row. */
export interface DataRecord {
  value: unknown
  /** Its place, for errors: `train.jsonl:12`. */
  where: string
  /** The JSON that it was read from, if it was JSON; only this shows how numbers are written. */
  json?: string
  /** The row as `exactColumns` returns it, if it was read from a file that is not JSON and whose numbers have types. */
  exact?: Readonly<Record<string, unknown>>
}

/** Returns about how many characters a record has. */
export function charactersOf({ value, json }: DataRecord): number {
  return json?.length ?? charactersIn(value)
}

/** Levels of a row whose texts are counted: of the arguments of a call, and a bound where a row holds itself. */
const LEVELS = 8

function charactersIn(value: unknown, level = 0): number {
  if (typeof value === 'string') return value.length
  if (ArrayBuffer.isView(value)) return value.byteLength
  if (level === LEVELS) return 1
  const parts = Array.isArray(value) ? value : isJsonObject(value) ? Object.values(value) : []
  return parts.reduce((sum: number, part) => sum + charactersIn(part, level + 1), 1)
}
