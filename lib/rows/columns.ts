/** The columns of one row. */
import { quoted } from '../common/errors.js'
import { exactColumns } from '../io/exact-json.js'
import { isJsonObject } from '../io/json.js'
import { str } from '../text/python/text.js'
import { toValue } from '../text/python/values.js'
import { malformedRow } from './check.js'
import type { DataRecord } from './record.js'

/** Columns by name, `a.b` being the key b of the column a. Names that differ in capitals only are the same. */
export class RowColumns {
  readonly where: string
  /** Names of all columns, including columns ignored by name. */
  readonly allNames: string[]
  readonly #values: Readonly<Record<string, unknown>>
  readonly #json: string | undefined
  /** Names of the row in lower case; made if the row or a requested name has capitals. */
  #small: ReadonlyMap<string, string> | undefined
  #exact: Readonly<Record<string, unknown>> | null | undefined

  /**
   * A row that is itself a list is the column `messages`.
   * @throws InputError `malformed-row`
   */
  constructor({ value, where, json, exact }: DataRecord, ignored: ReadonlySet<string>) {
    const isList = Array.isArray(value) && value.length > 0 && value.every(isJsonObject)
    if (!isList && !isJsonObject(value)) {
      throw malformedRow(where, `expected an object of columns but received ${quoted(value)}`)
    }
    const row: Readonly<Record<string, unknown>> = isList ? { messages: value } : (value as Record<string, unknown>)
    this.where = where
    this.allNames = Object.keys(row)
    this.#exact = exact
    this.#json = isList && json !== undefined ? `{"messages":${json}}` : json
    this.#values =
      ignored.size === 0 ? row : Object.fromEntries(Object.entries(row).filter(([name]) => !ignored.has(name)))
  }

  /** The row without columns ignored by name. */
  get values(): Readonly<Record<string, unknown>> {
    return this.#values
  }

  /** The same, with numbers as they are written in the file; undefined if their spelling is not known. */
  get exactValues(): Readonly<Record<string, unknown>> | undefined {
    this.#exact ??= exactColumns(this.#json) ?? null
    return this.#exact
      ? Object.fromEntries(Object.entries(this.#exact).filter(([name]) => Object.hasOwn(this.#values, name)))
      : undefined
  }

  /** Names of all columns, without columns ignored by name. */
  get names(): string[] {
    return Object.keys(this.#values)
  }

  /**
   * The names of the columns that are not null, which determine the form; null if keys inside a column may determine it too.
   */
  get signature(): string | null {
    const names: string[] = []
    for (const [name, value] of Object.entries(this.#values)) {
      if (isJsonObject(value)) return null
      names.push(value === null || value === undefined ? `-${name}` : name)
    }
    return names.join('\n')
  }

  /** Returns the name under which the row has a column; undefined if it has none. `a.b` is found if the column a has the key b. */
  find(name: string): string | undefined {
    if (Object.hasOwn(this.#values, name)) return name
    this.#small ??= new Map(this.names.reverse().map((own) => [own.toLowerCase(), own]))
    return (
      this.#small.get(name.toLowerCase()) ?? (name.includes('.') && this.#nested(name) !== undefined ? name : undefined)
    )
  }

  /** Returns the value of the column with a name from `find`; undefined for null. */
  value(name: string): unknown {
    const value = Object.hasOwn(this.#values, name) ? this.#values[name] : this.#nested(name)
    return value ?? undefined
  }

  /** Like `value`, with numbers as they are written in the file. */
  exact(name: string): unknown {
    this.#exact ??= exactColumns(this.#json) ?? null
    if (!this.#exact) return this.value(name)
    return Object.hasOwn(this.#exact, name) ? this.#exact[name] : nested(this.#exact, name)
  }

  /**
   * Returns a column as text; a number keeps its spelling.
   * @throws InputError `malformed-row`
   */
  text(name: string): string {
    const value = this.value(name)
    if (typeof value === 'string') return value
    if (typeof value === 'number' || typeof value === 'bigint') return str(toValue(this.exact(name) ?? value))
    throw malformedRow(this.where, `${name}: expected a text or a number but received ${quoted(value ?? null)}`)
  }

  #nested(name: string): unknown {
    return nested(this.#values, name)
  }
}

function nested(values: Readonly<Record<string, unknown>>, name: string): unknown {
  const walk = (value: unknown, key: string): unknown =>
    typeof value === 'object' && value !== null && Object.hasOwn(value, key)
      ? (value as Record<string, unknown>)[key]
      : undefined
  return name.split('.').reduce(walk, values as unknown)
}
