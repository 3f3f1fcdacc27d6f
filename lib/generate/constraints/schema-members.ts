/** What schemas that apply to the same value say of its members. */
import { isObject } from '../../common/arguments.js'
import type { Schema } from './schema-keywords.js'
import type { Conjunction, Leaf, Place } from './schema-parts.js'

const part = ({ path, base }: Leaf, schema: unknown, name: string): Place => ({
  schema,
  path: `${path}/${name}`,
  base,
})

const schemasIn = (schema: unknown): Schema => (isObject(schema) ? schema : {})

/** Returns the schemas of properties with a name. */
export const propertyPlaces = (conjunction: Conjunction, key: string): Place[] =>
  conjunction.flatMap((leaf) => {
    const { properties, patternProperties } = leaf.schema
    const own = Object.hasOwn(schemasIn(properties), key)
      ? [part(leaf, schemasIn(properties)[key], `properties/${key}`)]
      : []
    const matching = patternsOf(leaf).filter((pattern) => matches(pattern, key))
    const all = [
      ...own,
      ...matching.map((one) => part(leaf, schemasIn(patternProperties)[one], `patternProperties/${one}`)),
    ]
    return all.length > 0 ? all : others(leaf)
  })

/** Returns the schemas of properties without a name of their own that match these patterns, of those of `patternProperties`. */
export const otherPlaces = (conjunction: Conjunction, matching: ReadonlySet<string>): Place[] =>
  conjunction.flatMap((leaf) => {
    const own = patternsOf(leaf).filter((pattern) => matching.has(pattern))
    const { patternProperties } = leaf.schema
    return own.length > 0
      ? own.map((one) => part(leaf, schemasIn(patternProperties)[one], `patternProperties/${one}`))
      : others(leaf)
  })

const others = (leaf: Leaf): Place[] =>
  leaf.schema.additionalProperties === undefined
    ? []
    : [part(leaf, leaf.schema.additionalProperties, 'additionalProperties')]

const patternsOf = ({ schema }: Leaf): string[] => Object.keys(schemasIn(schema.patternProperties))

/** Returns the patterns of `patternProperties`. */
export const namePatterns = (conjunction: Conjunction): string[] => [...new Set(conjunction.flatMap(patternsOf))]

/** Returns the names of properties that schemas list or require. */
export const listedNames = (conjunction: Conjunction): string[] => [
  ...new Set([
    ...conjunction.flatMap(({ schema }) => Object.keys(schemasIn(schema.properties))),
    ...requiredNames(conjunction),
  ]),
]

export const requiredNames = (conjunction: Conjunction): string[] =>
  conjunction.flatMap(({ schema }) => (schema.required as string[] | undefined) ?? [])

/** Returns the schemas of all names. */
export const nameSchemas = (conjunction: Conjunction): Place[] =>
  conjunction.flatMap((leaf) =>
    leaf.schema.propertyNames === undefined ? [] : [part(leaf, leaf.schema.propertyNames, 'propertyNames')],
  )

/** Whether schemas say what other properties than those with names have to be. */
export const limitsOthers = (conjunction: Conjunction): boolean =>
  conjunction.some(
    ({ schema: { additionalProperties } }) =>
      isObject(additionalProperties) && Object.keys(additionalProperties).length > 0,
  )

/** Returns the largest (1) or smallest (-1) value of a keyword; undefined if no schema has it. */
export function extreme(conjunction: Conjunction, keyword: string, sign: 1 | -1): number | undefined {
  const values = conjunction.flatMap(({ schema }) => (schema[keyword] === undefined ? [] : [Number(schema[keyword])]))
  return values.length === 0 ? undefined : sign * Math.max(...values.map((value) => sign * value))
}

/** Returns the schemas of an item. */
export const itemPlaces = (conjunction: Conjunction, index: number): Place[] =>
  conjunction.flatMap((leaf) => {
    const { prefixItems = [], items } = leaf.schema as { prefixItems?: unknown[]; items?: unknown }
    if (index < prefixItems.length) return [part(leaf, prefixItems[index], `prefixItems/${index}`)]
    return items === undefined ? [] : [part(leaf, items, 'items')]
  })

/** Returns the number of items with schemas of their own. */
export const fixedItems = (conjunction: Conjunction): number =>
  Math.max(0, ...conjunction.map(({ schema }) => ((schema.prefixItems as unknown[] | undefined) ?? []).length))

/** Whether a name or a text matches a pattern, as schemas mean it. */
export function matches(pattern: string, text: string): boolean {
  try {
    return new RegExp(pattern, 'u').test(text)
  } catch {
    return new RegExp(pattern).test(text)
  }
}
