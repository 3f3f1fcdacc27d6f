/** Which values fit schemas, and whether any can. */
import { isDeepStrictEqual } from 'node:util'
import { isObject } from '../../common/arguments.js'
import { FORMATS } from './formats.js'
import { Impossible, Inexpressible } from './language.js'
import { narrowest } from './numbers.js'
import { commonTypes, haveNoType, listedValues, type Type } from './schema-keywords.js'
import {
  extreme,
  fixedItems,
  itemPlaces,
  listedNames,
  matches,
  nameSchemas,
  propertyPlaces,
  requiredNames,
} from './schema-members.js'
import type { Conjunction, Place, SchemaParts } from './schema-parts.js'

/** Levels of members that are compared. */
const MOST_LEVELS = 4

/** Returns the values that schemas list and that fit all of them; undefined if none lists values. */
export function valuesOf(conjunction: Conjunction, parts: SchemaParts): readonly unknown[] | undefined {
  const listed = conjunction.map(({ schema }) => listedValues(schema)).find((values) => values !== undefined)
  return listed?.filter((value) => fits(value, conjunction, parts))
}

/** Whether a value fits all these schemas. */
export function fitsPlaces(value: unknown, places: readonly Place[], parts: SchemaParts): boolean {
  return parts.alternatives(places).some((one) => fits(value, one, parts))
}

function fits(value: unknown, conjunction: Conjunction, parts: SchemaParts): boolean {
  const schemas = conjunction.map(({ schema }) => schema)
  const types = schemas.some(({ type }) => type !== undefined) ? commonTypes(schemas) : undefined
  if (types && !typesOfValue(value).some((type) => types.includes(type))) return false
  const isListed = schemas.every((schema) => listedValues(schema)?.some((one) => isDeepStrictEqual(one, value)) ?? true)
  if (!isListed) return false
  if (typeof value === 'string') return fitsText(value, conjunction)
  if (typeof value === 'number') return fitsNumber(value, conjunction)
  if (Array.isArray(value)) {
    return (
      isWithin(value.length, conjunction, 'Items') &&
      value.every((item, i) => fitsPlaces(item, itemPlaces(conjunction, i), parts))
    )
  }
  if (!isObject(value)) return true
  const keys = Object.keys(value)
  return (
    isWithin(keys.length, conjunction, 'Properties') &&
    requiredNames(conjunction).every((key) => Object.hasOwn(value, key)) &&
    keys.every(
      (key) =>
        fitsPlaces(key, nameSchemas(conjunction), parts) &&
        fitsPlaces(value[key], propertyPlaces(conjunction, key), parts),
    )
  )
}

const isWithin = (count: number, conjunction: Conjunction, what: 'Length' | 'Items' | 'Properties'): boolean =>
  count >= (extreme(conjunction, `min${what}`, 1) ?? 0) &&
  count <= (extreme(conjunction, `max${what}`, -1) ?? Number.POSITIVE_INFINITY)

function fitsText(text: string, conjunction: Conjunction): boolean {
  const isOf = ({ pattern, format }: Readonly<Record<string, unknown>>) =>
    pattern === undefined
      ? format === undefined || matches(FORMATS[String(format)] ?? '', text)
      : matches(String(pattern), text)
  return isWithin([...text].length, conjunction, 'Length') && conjunction.every(({ schema }) => isOf(schema))
}

function fitsNumber(value: number, conjunction: Conjunction): boolean {
  const schemas = conjunction.map(({ schema }) => schema)
  const [low, high] = [narrowest(schemas, 1), narrowest(schemas, -1)]
  const isMultiple = (step: number) => Math.abs(value / step - Math.round(value / step)) < 1e-9
  return (
    (!low || value > low.value || (value === low.value && !low.isExclusive)) &&
    (!high || value < high.value || (value === high.value && !high.isExclusive)) &&
    schemas.every(({ multipleOf }) => multipleOf === undefined || isMultiple(Number(multipleOf)))
  )
}

function typesOfValue(value: unknown): readonly Type[] {
  if (value === null) return ['null']
  if (Array.isArray(value)) return ['array']
  if (typeof value === 'number') return Number.isInteger(value) ? ['integer', 'number'] : ['number']
  return [typeof value as Type]
}

/**
 * Whether no document that is written for one of two alternatives fits the other one. Documents have no other properties than those
 * with names, so a property that only one of them requires tells them apart.
 */
export function areApart(one: Conjunction, other: Conjunction, parts: SchemaParts): boolean {
  const isNamed = (key: string, conjunction: Conjunction) => listedNames(conjunction).includes(key)
  const isMissing = (mine: Conjunction, its: Conjunction) =>
    isClosedObject(mine) && isClosedObject(its) && requiredNames(its).some((key) => !isNamed(key, mine))
  if (isMissing(one, other) && isMissing(other, one)) return true
  return isSurelyEmpty([...one, ...other], parts, MOST_LEVELS)
}

/** Whether schemas are of objects that are written with named properties alone. */
const isClosedObject = (conjunction: Conjunction): boolean =>
  commonTypes(conjunction.map(({ schema }) => schema)).join() === 'object' &&
  listedNames(conjunction).length > 0 &&
  conjunction.every(
    ({ schema: { additionalProperties = true, patternProperties = {} } }) =>
      Object.keys(patternProperties as object).length === 0 &&
      (!isObject(additionalProperties) || Object.keys(additionalProperties).length === 0),
  )

/** Whether no value fits all these schemas, as far as types, values, bounds and required members tell. */
function isSurelyEmpty(conjunction: Conjunction, parts: SchemaParts, levels: number): boolean {
  const schemas = conjunction.map(({ schema }) => schema)
  if (haveNoType(schemas)) return true
  const values = guarded(() => valuesOf(conjunction, parts))
  if (values) return values.length === 0
  if (levels === 0) return false
  const types = commonTypes(schemas)
  if (types.length === 0) return false
  const isEmpty = (places: readonly Place[]) =>
    guarded(() => parts.alternatives(places))?.every((one) => isSurelyEmpty(one, parts, levels - 1)) ?? false
  return types.every((type) => {
    if (type === 'object') return requiredNames(conjunction).some((key) => isEmpty(propertyPlaces(conjunction, key)))
    if (type === 'array') {
      const least = Math.min(extreme(conjunction, 'minItems', 1) ?? 0, fixedItems(conjunction) + 1)
      return Array.from({ length: least }, (_, i) => itemPlaces(conjunction, i)).some(isEmpty)
    }
    if (type === 'number' || type === 'integer') {
      const [low, high] = [narrowest(schemas, 1), narrowest(schemas, -1)]
      return low !== undefined && high !== undefined && low.value > high.value
    }
    return false
  })
}

/** Returns what is found; undefined if that cannot be told. */
function guarded<Result>(find: () => Result): Result | undefined {
  try {
    return find()
  } catch (error) {
    if (error instanceof Inexpressible && !(error instanceof Impossible)) return undefined
    throw error
  }
}
