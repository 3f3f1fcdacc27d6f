import { InputError } from '../errors.js'
import { reasonOf } from '../foreign-errors.js'
import { findJsonProblem, lineAndColumn, nestsTooDeep } from './json-scan.js'
import { decodeUtf8, malformed, readExactly, withInputFile } from './open.js'

export type JsonObject = Readonly<Record<string, unknown>>

export interface JsonOptions {
  /** Refuse objects that give a key twice (JSON.parse keeps the last). Costs a second pass. */
  uniqueKeys?: boolean
}

/**
 * The value of a JSON file.
 * @throws UsageError `missing-file`
 * @throws InputError `malformed-json` with the file, line and column
 */
export async function readJson(path: string, options: JsonOptions = {}): Promise<unknown> {
  const bytes = await withInputFile(path, (handle, size) => readExactly(handle, path, 0, size))
  return parseJson(decodeUtf8(bytes, path), path, options)
}

/** Like `readJson`, of a file whose value must be an object. */
export async function readJsonObject(path: string, options: JsonOptions = {}): Promise<Record<string, unknown>> {
  const value = await readJson(path, options)
  if (!isJsonObject(value)) throw malformed(path, `expected a JSON object but received ${describe(value)}`)
  return value
}

/** Parses a text; `source` names it in errors. */
export function parseJson(text: string, source: string, options: JsonOptions = {}): unknown {
  let value: unknown
  let cause: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    cause = error
  }
  if (cause === undefined && !options.uniqueKeys && !nestsTooDeep(text)) return value
  const found = findJsonProblem(text)
  if (found) {
    const { line, column } = lineAndColumn(text, found.position)
    throw new InputError(
      'malformed-json',
      `${source} is not valid JSON: at line ${line}, column ${column} ${found.problem}.`,
      { cause },
    )
  }
  if (cause === undefined) return value
  throw new InputError('malformed-json', `${source} cannot be read as JSON: ${reasonOf(cause, 'it is damaged')}.`, {
    cause,
  })
}

/** True of `{…}`, not of arrays and null. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`
}
