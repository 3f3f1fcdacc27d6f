/** Values of Parquet columns as JSON has them. */
import type { FileMetaData, SchemaTree } from 'hyparquet'
import { parseExact } from '../../io/exact-json.js'
import { isJsonObject, jsonIn, parseJson } from '../../io/json.js'
import { decodeText } from './lines.js'

/** A text of a column of JSON; its nulls are its own. */
export class JsonText {
  /** @throws InputError `malformed-json` */
  constructor(
    readonly text: string,
    where: string,
  ) {
    parseJson(text, where)
  }
}

/**
 * Returns a value with numbers as `parseExact` returns them: whole ones of a column of floats are `Number` objects, integers past
 * 2^53 bigints. Times are ISO 8601. Nulls of structs are left out, since a struct has all keys that any row has.
 */
export function exactValue(value: unknown, type: SchemaTree | undefined): unknown {
  if (value === null || value === undefined) return null
  if (typeof value === 'number') return Number.isInteger(value) && isFloat(type) ? Object(value) : value
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value
  if (typeof value !== 'object') return value
  if (value instanceof JsonText) return parseExact(value.text)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (value instanceof Uint8Array) return textOrBytes(value)
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    const element = elementType(type)
    return Array.from(value as ArrayLike<unknown>, (one) => exactValue(one, element))
  }
  const isMap = type?.element.converted_type === 'MAP'
  const entries = Object.entries(value).map(([key, part]) => {
    const own = isMap ? type.children[0]?.children[1] : type?.children.find(({ element }) => element.name === key)
    return [key, exactValue(part, own)] as const
  })
  return Object.fromEntries(isMap ? entries : entries.filter(([, part]) => part !== null))
}

function isFloat(type: SchemaTree | undefined): boolean {
  const { type: stored, logical_type: meant } = type?.element ?? {}
  return stored === 'DOUBLE' || stored === 'FLOAT' || meant?.type === 'FLOAT16'
}

/** A list has its elements in a group of its own, or in a group within a group; other repeated columns have none. */
export function elementType(type: SchemaTree | undefined): SchemaTree | undefined {
  const group = type?.element.converted_type === 'LIST' ? type.children[0] : undefined
  return group?.children.length === 1 ? group.children[0] : (group ?? type)
}

/** Returns an exact value with the numbers of JavaScript; integers past 2^53 are texts. */
export function plainValue(exact: unknown): unknown {
  if (typeof exact === 'bigint') return String(exact)
  if (typeof exact !== 'object' || exact === null || exact instanceof Uint8Array) return exact
  if (exact instanceof Number) return exact.valueOf()
  if (Array.isArray(exact)) return exact.map(plainValue)
  const entries: Iterable<[unknown, unknown]> = exact instanceof Map ? exact : Object.entries(exact)
  return Object.fromEntries(Array.from(entries, ([key, part]) => [key, plainValue(part)]))
}

/** Decodes bytes that are UTF-8, since old writers do not mark texts as such; images and sounds stay bytes. */
function textOrBytes(bytes: Uint8Array): string | Uint8Array {
  try {
    return decodeText(bytes, '', false)
  } catch {
    return bytes
  }
}

/**
 * Marks columns whose feature is Json as columns of JSON: where Arrow has no such type, their texts are stored as any others.
 *
 * @param schema the tree over the metadata's elements, which are changed
 */
export function markJsonColumns({ key_value_metadata: entries = [] }: FileMetaData, schema: SchemaTree): void {
  const written = jsonIn(entries.find(({ key }) => key === 'huggingface')?.value ?? '')
  if (isJsonObject(written) && isJsonObject(written.info)) mark(written.info.features, schema)
}

function mark(feature: unknown, type: SchemaTree | undefined): void {
  if (!type) return
  if (Array.isArray(feature)) mark(feature[0], elementType(type))
  if (!isJsonObject(feature)) return
  const { _type: kind, feature: inner } = feature
  if (kind === 'Json' && type.element.type === 'BYTE_ARRAY') type.element.converted_type = 'JSON'
  else if (typeof kind === 'string') mark(inner, elementType(type))
  else for (const child of type.children) mark(feature[child.element.name], child)
}
