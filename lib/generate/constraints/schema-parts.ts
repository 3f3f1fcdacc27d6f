/** Resolves what combines schemas: references, `allOf`, `anyOf`, `oneOf`, `not` and `nullable`. */
import { isObject } from '../../common/arguments.js'
import { Inexpressible } from './language.js'
import { isCombining, keywordsOf, listedValues, type Schema } from './schema-keywords.js'

/** A schema at its place in a document. */
export interface Place {
  readonly schema: unknown
  readonly path: string
  /** The schema with the `$id` where the place's references begin. */
  readonly base: Base
}

interface Base {
  readonly schema: unknown
  readonly path: string
}

/** A schema without combining keywords. */
export interface Leaf extends Place {
  readonly schema: Schema
  readonly id: number
}

/** Schemas that apply to one value, all of them. */
export type Conjunction = readonly Leaf[]

/** Maximum number of alternatives of a value. */
const MOST_ALTERNATIVES = 4096

/** A `oneOf` and the alternatives of each of its schemas. */
interface Choice {
  readonly path: string
  readonly branches: readonly (readonly Conjunction[])[]
}

const NULL = { type: 'null' }

export class SchemaParts {
  readonly #known = new Map<unknown, readonly Conjunction[]>()
  readonly #expanding = new Set<unknown>()
  readonly #ids = new Map<unknown, number>()
  /** Those whose schemas have not been compared. */
  readonly #choices: Choice[] = []
  readonly root: Place
  readonly #areApart: (one: Conjunction, other: Conjunction) => boolean

  /** @param areApart whether no value fits both */
  constructor(schema: unknown, areApart: (one: Conjunction, other: Conjunction) => boolean) {
    this.root = { schema, path: '#', base: { schema, path: '#' } }
    this.#areApart = areApart
  }

  /**
   * Returns the alternatives of a value to which all these schemas apply; none if no value fits.
   * @throws Inexpressible
   */
  alternatives(places: readonly Place[]): readonly Conjunction[] {
    const path = places[0]?.path ?? '#'
    const alternatives = this.#product(
      places.map((place) => this.#expanded(place)),
      path,
    )
    // Comparing needs alternatives of other places, so it waits until the place is resolved.
    for (let choice = this.#choices.pop(); choice; choice = this.#choices.pop()) this.#requireApart(choice)
    return alternatives
  }

  #expanded(place: Place): readonly Conjunction[] {
    const { schema } = place
    if (schema === true) return [[]]
    if (schema === false) return []
    const known = this.#known.get(schema)
    if (known) return known
    this.#expanding.add(schema)
    const alternatives = this.#read(place)
    this.#expanding.delete(schema)
    this.#known.set(schema, alternatives)
    return alternatives
  }

  #read({ schema, path, base: outer }: Place): readonly Conjunction[] {
    const keywords = keywordsOf(schema, path)
    const base = baseWithin(schema, path, outer)
    const at = (part: unknown, name: string): Place => ({ schema: part, path: `${path}/${name}`, base })
    const own = Object.fromEntries(Object.entries(keywords).filter(([key]) => !isCombining(key)))
    const {
      $ref,
      allOf = [],
      anyOf,
      oneOf,
      not,
      nullable,
    } = keywords as {
      $ref?: string
      allOf?: unknown[]
      anyOf?: unknown[]
      oneOf?: unknown[]
      not?: unknown
      nullable?: boolean
    }
    const expanded = (parts: readonly unknown[], name: string) =>
      parts.map((part, i) => this.#expanded(at(part, `${name}/${i}`)))
    const factors = [
      ...(Object.keys(own).length > 0 ? [[[this.#leaf(schema, own, path, base)]]] : []),
      ...($ref === undefined ? [] : [this.#referred($ref, path, base)]),
      ...expanded(allOf, 'allOf'),
      ...(anyOf ? [expanded(anyOf, 'anyOf').flat()] : []),
    ]
    if (oneOf) {
      const branches = expanded(oneOf, 'oneOf')
      this.#choices.push({ path, branches })
      factors.push(branches.flat())
    }
    if (not !== undefined && not !== false) {
      if (not !== true && (!isObject(not) || Object.keys(not).length > 0)) throw new Inexpressible(`not at ${path}`)
      factors.push([])
    }
    const alternatives = this.#product(factors, path)
    const mayBeNull = nullable && (listedValues(schema)?.includes(null) ?? true)
    return mayBeNull ? [...alternatives, [this.#leaf(NULL, NULL, path, base)]] : alternatives
  }

  #leaf(given: unknown, schema: Schema, path: string, base: Base): Leaf {
    const id = this.#ids.get(given) ?? this.#ids.size
    this.#ids.set(given, id)
    return { schema, path, base, id }
  }

  #referred(pointer: string, path: string, base: Base): readonly Conjunction[] {
    const place = resolve(pointer, base)
    if (!place) throw new Inexpressible(`the reference ${pointer} at ${path}`)
    if (this.#expanding.has(place.schema))
      throw new Inexpressible(`the reference ${pointer} at ${path}, which leads back to itself`)
    return this.#expanded(place)
  }

  /** Returns the alternatives to which one of each factor applies. */
  #product(factors: readonly (readonly Conjunction[])[], path: string): readonly Conjunction[] {
    return factors.reduce<readonly Conjunction[]>(
      (alternatives, factor) => {
        const isProduct = alternatives.length > 1 && factor.length > 1
        if (isProduct && alternatives.length * factor.length > MOST_ALTERNATIVES)
          throw new Inexpressible(`more than ${MOST_ALTERNATIVES} alternatives at ${path}`)
        const found = new Map<string, Conjunction>()
        for (const one of alternatives) {
          for (const other of factor) {
            const both = [...new Map([...one, ...other].map((leaf) => [leaf.id, leaf])).values()]
            found.set(keyOf(both), both)
          }
        }
        return [...found.values()]
      },
      [[]],
    )
  }

  #requireApart({ path, branches }: Choice): void {
    for (const [i, branch] of branches.entries()) {
      for (const other of branches.slice(i + 1)) {
        if (!branch.every((one) => other.every((another) => this.#areApart(one, another))))
          throw new Inexpressible(`oneOf at ${path}, whose schemas are not told apart by a constant or a type`)
      }
    }
  }
}

/** Returns a text that is the same for the same schemas. */
export const keyOf = (conjunction: Conjunction): string =>
  conjunction
    .map(({ id }) => id)
    .sort((a, b) => a - b)
    .join()

function baseWithin(schema: unknown, path: string, outer: Base): Base {
  const id = isObject(schema) ? schema.$id : undefined
  return typeof id === 'string' && !id.startsWith('#') ? { schema, path } : outer
}

/** Returns the part of a document that a reference names. */
function resolve(reference: string, base: Base): Place | undefined {
  if (!reference.startsWith('#')) return undefined
  const pointer = decoded(reference.slice(1))
  if (pointer === undefined) return undefined
  if (pointer !== '' && !pointer.startsWith('/')) return anchored(pointer, { ...base, base })
  let place: Place | undefined = { ...base, base }
  for (const key of pointer.split('/').slice(1)) {
    const name = key.replaceAll('~1', '/').replaceAll('~0', '~')
    const part: unknown = place && partOf(place.schema, name)
    if (!place || part === undefined) return undefined
    const path: string = `${place.path}/${key}`
    place = { schema: part, path, base: baseWithin(part, path, place.base) }
  }
  return place
}

function partOf(whole: unknown, key: string): unknown {
  if (Array.isArray(whole)) return whole[Number(key)]
  return isObject(whole) && Object.hasOwn(whole, key) ? whole[key] : undefined
}

/** Returns the schema with an anchor. */
function anchored(name: string, place: Place): Place | undefined {
  const { schema, path, base } = place
  if (typeof schema !== 'object' || schema === null) return undefined
  if (isObject(schema)) {
    if (schema !== base.schema && baseWithin(schema, path, base) !== base) return undefined
    if (schema.$anchor === name || schema.$id === `#${name}`) return place
  }
  for (const [key, part] of Object.entries(schema)) {
    const found = anchored(name, { schema: part, path: `${path}/${key}`, base })
    if (found) return found
  }
  return undefined
}

function decoded(pointer: string): string | undefined {
  try {
    return decodeURIComponent(pointer)
  } catch {
    return undefined
  }
}
