/** Keywords of JSON schemas that constraints enforce, and their values. */
import { isObject } from '../../common/arguments.js'
import { shortened } from '../../common/printable.js'
import { Inexpressible } from './language.js'

export type Schema = Readonly<Record<string, unknown>>

/** Keywords of the schemas of a type. */
const KEYWORDS = {
  object: [
    ...['properties', 'required', 'additionalProperties', 'patternProperties'],
    ...['propertyNames', 'minProperties', 'maxProperties'],
  ],
  array: ['items', 'prefixItems', 'additionalItems', 'minItems', 'maxItems', 'uniqueItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
} as const satisfies Readonly<Record<string, readonly string[]>>

export const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const
export type Type = (typeof TYPES)[number]

/** Keywords that forbid no document. */
const ANNOTATIONS: ReadonlySet<string> = new Set([
  ...['$schema', '$id', '$anchor', '$comment', '$defs', 'definitions', 'title', 'description', 'default', 'id'],
  ...['example', 'examples', 'deprecated', 'readOnly', 'writeOnly', 'contentEncoding', 'contentMediaType'],
  ...['discriminator', 'externalDocs', 'xml'],
])
/** Keywords whose schemas apply to the same value. */
const COMBINING = ['$ref', 'allOf', 'anyOf', 'oneOf', 'not', 'nullable'] as const

const isWholeNumber = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0
const isSchema = (value: unknown): boolean => typeof value === 'boolean' || isObject(value)
const isText = (value: unknown): boolean => typeof value === 'string'
const isList = (value: unknown, isMember: (one: unknown) => boolean, least = 0): boolean =>
  Array.isArray(value) && value.length >= least && value.every(isMember)

/** Keywords by their values. */
const VALUES: readonly (readonly [
  words: string,
  isFitting: (value: unknown) => boolean,
  keywords: readonly string[],
])[] = [
  [
    'a whole number of at least 0',
    isWholeNumber,
    ['minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties'],
  ],
  ['a number', Number.isFinite, ['minimum', 'maximum']],
  // A flag of the bound in draft 4 and OpenAPI 3.0.
  [
    'a number',
    (value) => typeof value === 'boolean' || Number.isFinite(value),
    ['exclusiveMinimum', 'exclusiveMaximum'],
  ],
  ['a number above 0', (value) => Number.isFinite(value) && Number(value) > 0, ['multipleOf']],
  ['a text', isText, ['$ref', 'pattern', 'format']],
  ['a schema', isSchema, ['additionalProperties', 'additionalItems', 'propertyNames', 'not']],
  ['a schema or a list of schemas', (value) => isSchema(value) || isList(value, isSchema), ['items']],
  ['a list of schemas', (value) => isList(value, isSchema), ['prefixItems']],
  ['a list of one schema or more', (value) => isList(value, isSchema, 1), ['anyOf', 'oneOf', 'allOf']],
  [
    'an object of schemas',
    (value) => isObject(value) && Object.values(value).every(isSchema),
    ['properties', 'patternProperties'],
  ],
  ['a list of texts', (value) => isList(value, isText), ['required']],
  ['a list', Array.isArray, ['enum']],
  [
    'a type or a list of types',
    (value) => isList([value].flat(), (one) => (TYPES as readonly unknown[]).includes(one), 1),
    ['type'],
  ],
  ['true or false', (value) => typeof value === 'boolean', ['nullable']],
  ['false', (value) => value === false, ['uniqueItems']],
]
const VALUE_OF = new Map(
  VALUES.flatMap(([words, isFitting, keywords]) => keywords.map((key) => [key, { words, isFitting }])),
)
const KNOWN: ReadonlySet<string> = new Set([...COMBINING, 'enum', 'const', 'type', ...Object.values(KEYWORDS).flat()])

/**
 * Returns the keywords of a schema that forbid documents, tuples in the form of draft 2020-12.
 * @throws Inexpressible for what no schema is, unknown keywords, and values that their keywords cannot have
 */
export function keywordsOf(schema: unknown, path: string): Schema {
  if (!isObject(schema)) throw new Inexpressible(`${shown(schema)} at ${path}`)
  const keywords = Object.entries(schema).filter(([key]) => !ANNOTATIONS.has(key) && !key.startsWith('x-'))
  for (const [key, value] of keywords) {
    if (!KNOWN.has(key)) throw new Inexpressible(`${key} at ${path}`)
    const expected = VALUE_OF.get(key)
    if (expected && !expected.isFitting(value))
      throw new Inexpressible(`${key} at ${path}, which is ${shown(value)} and not ${expected.words}`)
  }
  const { additionalItems, ...others } = Object.fromEntries(keywords)
  return Array.isArray(others.items) ? { ...others, prefixItems: others.items, items: additionalItems ?? true } : others
}

/** Whether a keyword combines schemas of the same value. */
export const isCombining = (key: string): boolean => (COMBINING as readonly string[]).includes(key)

/** Returns the values that a schema lists; undefined if it lists none. */
export function listedValues(schema: unknown): readonly unknown[] | undefined {
  if (!isObject(schema)) return undefined
  if ('const' in schema) return [schema.const]
  return Array.isArray(schema.enum) ? schema.enum : undefined
}

/** Returns the types that all schemas name, or else the types of their keywords; none if these limit no type. */
export function commonTypes(schemas: readonly Schema[]): readonly Type[] {
  const named = schemas.flatMap(({ type }) => (type === undefined ? [] : [[type].flat() as Type[]]))
  if (named.length === 0) {
    const isLimited = (type: keyof typeof KEYWORDS) => KEYWORDS[type].some((key) => schemas.some((one) => key in one))
    return (['object', 'array', 'string', 'number'] as const).filter(isLimited)
  }
  const isNamed = (type: Type) =>
    named.every((types) => types.includes(type) || (type === 'integer' && types.includes('number')))
  return TYPES.filter((type) => isNamed(type) && !(type === 'integer' && isNamed('number')))
}

/** Whether schemas name types, and none that all of them name. */
export const haveNoType = (schemas: readonly Schema[]): boolean =>
  schemas.some(({ type }) => type !== undefined) && commonTypes(schemas).length === 0

const shown = (value: unknown): string => shortened(JSON.stringify(value) ?? String(value), 60)
