/** Makes grammars of the documents that are valid against a JSON schema. */
import { isObject } from '../../common/arguments.js'
import type { JsonSpacing } from '../../options/constraint.js'
import { NUMBER_FORMATS } from './formats.js'
import { GrammarRules } from './grammar-rules.js'
import { Impossible, Inexpressible, textLanguage } from './language.js'
import { narrowest, numberLanguage } from './numbers.js'
import { commonTypes, haveNoType, type Type } from './schema-keywords.js'
import {
  extreme,
  fixedItems,
  itemPlaces,
  limitsOthers,
  listedNames,
  namePatterns,
  nameSchemas,
  otherPlaces,
  propertyPlaces,
  requiredNames,
} from './schema-members.js'
import { type Conjunction, keyOf, type Place, SchemaParts } from './schema-parts.js'
import { areApart, fitsPlaces, valuesOf } from './schema-values.js'
import { ANY_TEXT, addNames, addTexts, type TextLimits } from './texts.js'

/** Maximum number of items that a grammar counts; no text has more. */
const MOST_ITEMS = 1_000_000
/** Maximum number of rules of an object. */
const MOST_STEPS = 20_000
/** Maximum number of patterns of an object's names; each set of them is an alternative. */
const MOST_PATTERNS = 4
/** Maximum number of times that a grammar is begun anew. */
const MOST_TRIES = 16

/** Texts between members, and between a key and its value. */
const SEPARATORS = { compact: { comma: ',', colon: ':' }, spaced: { comma: ', ', colon: ': ' } } as const

/** Thrown where a rule that others refer to turns out to have no texts. */
class Retry extends Error {}

/**
 * Returns the grammar (EBNF, as XGrammar reads it) of documents that are valid against a JSON schema, on one line, with properties
 * in the schema's order and no others where the schema names some.
 * @throws Inexpressible that names the part of the schema that no grammar can express
 */
export function schemaGrammar(schema: unknown, spacing: JsonSpacing = 'either'): string {
  const impossible = new Map<string, Impossible>()
  for (let i = 0; i < MOST_TRIES; i++) {
    try {
      return new SchemaReader(schema, impossible).grammar(spacing)
    } catch (error) {
      if (!(error instanceof Retry)) throw error
    }
  }
  throw new Inexpressible('schemas that no document fits and that refer to each other')
}

class SchemaReader {
  readonly #parts: SchemaParts
  readonly #rules = new GrammarRules()
  /** Rules without separators, which both spacings share, by their content. */
  readonly #common = new Map<string, string>()
  /** Rules of objects and arrays by their schemas. */
  readonly #known = new Map<string, string>()
  /** Rules that are being written, and those of them to which others refer. */
  readonly #unfinished = new Set<string>()
  readonly #referred = new Set<string>()
  /** Objects and arrays without documents, by their schemas. */
  readonly #impossible: Map<string, Impossible>
  #anyValue: string | undefined
  #spacing: keyof typeof SEPARATORS = 'compact'
  #hasSeparators = false

  constructor(schema: unknown, impossible: Map<string, Impossible>) {
    this.#impossible = impossible
    this.#parts = new SchemaParts(schema, (one, other) => areApart(one, other, this.#parts))
  }

  grammar(spacing: JsonSpacing): string {
    const first = this.#whole(spacing === 'either' ? 'compact' : spacing)
    const isBoth = spacing === 'either' && this.#hasSeparators
    return this.#rules.grammar(isBoth ? either([first, this.#whole('spaced')]) : first)
  }

  #whole(spacing: keyof typeof SEPARATORS): string {
    this.#spacing = spacing
    this.#known.clear()
    this.#anyValue = undefined
    return this.#of([this.#parts.root])
  }

  get #separators(): { readonly comma: string; readonly colon: string } {
    this.#hasSeparators = true
    return SEPARATORS[this.#spacing]
  }

  get #comma(): string {
    return literal(this.#separators.comma)
  }

  #rule(body: string): string {
    return this.#rules.add(() => body)
  }

  #commonRule(name: string, make: () => string): string {
    const known = this.#common.get(name)
    if (known) return known
    const rule = make()
    this.#common.set(name, rule)
    return rule
  }

  #string(): string {
    return this.#commonRule('string', () => this.#rules.addLanguage(ANY_TEXT))
  }

  /** Returns the rule of any value of JSON. */
  #value(): string {
    this.#anyValue ??= this.#rules.add((value) => {
      this.#anyValue = value
      const string = this.#string()
      const member = this.#rule(`${string} ${literal(this.#separators.colon)} ${value}`)
      const object = this.#rule(`"{" (${member} (${this.#comma} ${member})*)? "}"`)
      const array = this.#rule(`"[" (${value} (${this.#comma} ${value})*)? "]"`)
      return `${object} | ${array} | ${string} | ${this.#number('number', [])} | "true" | "false" | "null"`
    })
    return this.#anyValue
  }

  /** Returns the grammar of a value to which these schemas apply. @throws Impossible if no value fits */
  #of(places: readonly Place[]): string {
    const path = places[0]?.path ?? '#'
    const alternatives = this.#parts.alternatives(places)
    return this.#possible(
      path,
      alternatives.map((one) => () => this.#alternative(one, path)),
    )
  }

  /** Joins alternatives that have texts. @throws Impossible if none has */
  #possible(path: string, makers: readonly (() => string)[]): string {
    let reason = new Impossible(`no value at ${path}`)
    const found = makers.flatMap((make) => {
      try {
        return make()
      } catch (error) {
        if (!(error instanceof Impossible)) throw error
        reason = error
        return []
      }
    })
    if (found.length === 0) throw reason
    return either([...new Set(found)])
  }

  #alternative(conjunction: Conjunction, path: string): string {
    const values = valuesOf(conjunction, this.#parts)
    if (values) return this.#values(values, path)
    const schemas = conjunction.map(({ schema }) => schema)
    const types = commonTypes(schemas)
    if (haveNoType(schemas)) throw new Impossible(`no type at ${path}`)
    if (types.length === 0) return this.#value()
    return this.#possible(
      path,
      types.map((type) => () => this.#ofType(type, conjunction, path)),
    )
  }

  #ofType(type: Type, conjunction: Conjunction, path: string): string {
    if (type === 'boolean') return '("true" | "false")'
    if (type === 'null') return '"null"'
    if (type === 'object') return this.#container(`object ${keyOf(conjunction)}`, () => this.#object(conjunction, path))
    if (type === 'array') return this.#container(`array ${keyOf(conjunction)}`, () => this.#array(conjunction, path))
    return within(path, () => (type === 'string' ? this.#text(conjunction) : this.#number(type, conjunction)))
  }

  #values(values: readonly unknown[], path: string): string {
    if (values.length === 0) throw new Impossible(`no value at ${path}`)
    const texts = values.map((value) => this.#json(value))
    return within(path, () =>
      this.#commonRule(`values ${texts.join()}`, () => this.#rules.addLanguage({ any: texts.map(textLanguage) })),
    )
  }

  /** Returns the JSON of a value. */
  #json(value: unknown): string {
    if (!Array.isArray(value) && !isObject(value)) return JSON.stringify(value)
    const { comma, colon } = this.#separators
    if (Array.isArray(value)) return `[${value.map((one) => this.#json(one)).join(comma)}]`
    const members = Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}${colon}${this.#json(one)}`)
    return `{${members.join(comma)}}`
  }

  #text(conjunction: Conjunction): string {
    const limits = textLimits(conjunction)
    if (isFree(limits)) return this.#string()
    return this.#commonRule(`text ${textKey(limits)}`, () => addTexts(this.#rules, limits))
  }

  #number(type: 'number' | 'integer', conjunction: Conjunction): string {
    const schemas = conjunction.flatMap(({ schema }) => {
      const [minimum, maximum] = NUMBER_FORMATS[String(schema.format)] ?? []
      return minimum === undefined || maximum === undefined ? [schema] : [schema, { minimum, maximum }]
    })
    const limits = {
      isInteger: type === 'integer',
      low: narrowest(schemas, 1),
      high: narrowest(schemas, -1),
      multipleOf: [
        ...new Set(conjunction.flatMap(({ schema: { multipleOf } }) => (multipleOf as number | undefined) ?? [])),
      ],
    }
    try {
      return this.#commonRule(`number ${JSON.stringify(limits)}`, () => this.#rules.addLanguage(numberLanguage(limits)))
    } catch (error) {
      if (limits.multipleOf.length === 0 || error instanceof Impossible) throw error
      const steps = limits.multipleOf.join(' and ')
      throw new Inexpressible(`the multipleOf ${steps}, whose remainders within these bounds take too many states`)
    }
  }

  /** Returns the rule of an object or an array, which may contain itself. */
  #container(key: string, write: () => string): string {
    const known = this.#known.get(key)
    if (known) {
      if (this.#unfinished.has(known)) this.#referred.add(known)
      return known
    }
    const impossible = this.#impossible.get(key)
    if (impossible) throw impossible
    let rule: string | undefined
    try {
      return this.#rules.add((name) => {
        rule = name
        this.#known.set(key, name)
        this.#unfinished.add(name)
        return write()
      })
    } catch (error) {
      this.#known.delete(key)
      if (!(error instanceof Impossible)) throw error
      this.#impossible.set(key, error)
      throw this.#referred.has(rule!) ? new Retry() : error
    } finally {
      this.#unfinished.delete(rule!)
    }
  }

  #object(conjunction: Conjunction, path: string): string {
    const names = nameSchemas(conjunction)
    const required = new Set(requiredNames(conjunction))
    const enumerated = names.length > 0 ? this.#enumeratedNames(names) : undefined
    const listed = [...new Set([...listedNames(conjunction), ...(enumerated ?? [])])]
    const values = new Map<string, string>()
    for (const key of listed) {
      const value = fitsPlaces(key, names, this.#parts) ? this.#member(propertyPlaces(conjunction, key)) : undefined
      if (value !== undefined) values.set(key, value)
      else if (required.has(key))
        throw new Impossible(`the property ${key} at ${path}, which is required and forbidden`)
    }
    const entries = [...values].map(([key, value]) => ({
      text: `${literal(JSON.stringify(key) + this.#separators.colon)} ${value}`,
      isRequired: required.has(key),
    }))
    const others = enumerated ? undefined : this.#others(conjunction, listed, path)
    const least = extreme(conjunction, 'minProperties', 1) ?? 0
    const most = extreme(conjunction, 'maxProperties', -1) ?? Number.POSITIVE_INFINITY
    return `"{" ${this.#members(entries, others, { least, most }, path)} "}"`
  }

  /** Returns the grammar of members in their order, then of others. JSON may repeat a key, so only one of the others counts for a minimum. */
  #members(
    entries: readonly { text: string; isRequired: boolean }[],
    others: string | undefined,
    { least, most }: { least: number; most: number },
    path: string,
  ): string {
    const isCounted = Number.isFinite(most) && (others !== undefined || most < entries.length)
    const counts = isCounted ? entries.length : Math.max(1, Math.min(least, entries.length))
    if (entries.length * counts > MOST_STEPS) throw new Inexpressible(`minProperties or maxProperties at ${path}`)
    /** Returns the others behind a number of members; undefined if they cannot be enough or few enough. */
    const end = (count: number): string | undefined => {
      const [fewest, room] = [Math.max(0, least - count), most - count]
      if (room < 0 || fewest > (others === undefined ? 0 : 1)) return undefined
      if (others === undefined || room === 0) return fewest > 0 ? undefined : '""'
      const next = `${this.#comma} ${others}`
      if (count > 0) return repeated(next, fewest, room)
      return `(${others} ${repeated(next, 0, room - 1)})${fewest === 0 ? '?' : ''}`
    }
    let rests = Array.from({ length: counts + 1 }, (_, count) => end(count))
    for (const { text, isRequired } of [...entries].reverse()) {
      const next = rests
      rests = next.map((without, count) => {
        const after = next[Math.min(count + 1, counts)]
        const taken = after === undefined ? [] : [`(${count > 0 ? `${this.#comma} ` : ''}${text} ${after})`]
        const parts = [...taken, ...(isRequired || without === undefined ? [] : [without])]
        return parts.length === 0 ? undefined : this.#rule(either(parts))
      })
    }
    if (rests[0] === undefined)
      throw new Inexpressible(`${least > entries.length ? 'min' : 'max'}Properties at ${path}`)
    return rests[0]
  }

  /** Returns the grammar of a member's value; undefined if it has none. */
  #member(places: readonly Place[]): string | undefined {
    try {
      return this.#of(places)
    } catch (error) {
      if (error instanceof Impossible) return undefined
      throw error
    }
  }

  /** Returns the names that schemas of names list; undefined if they list none. */
  #enumeratedNames(places: readonly Place[]): string[] | undefined {
    const values = this.#parts.alternatives(places).map((one) => valuesOf(one, this.#parts))
    if (values.some((one) => one === undefined)) return undefined
    return values.flatMap((one) => (one ?? []).filter((name) => typeof name === 'string'))
  }

  /** Returns the grammar of a member without a name of its own; undefined if there is none. */
  #others(conjunction: Conjunction, listed: readonly string[], path: string): string | undefined {
    const patterns = namePatterns(conjunction)
    if (patterns.length > MOST_PATTERNS)
      throw new Inexpressible(`more than ${MOST_PATTERNS} patternProperties at ${path}`)
    const hasOthers = limitsOthers(conjunction) || (listed.length === 0 && patterns.length === 0)
    const sets = Array.from({ length: 2 ** patterns.length }, (_, bits) =>
      patterns.filter((_, i) => ((bits >> i) & 1) === 1),
    ).filter((matching) => hasOthers || matching.length > 0)
    const members = sets.flatMap((matching) => {
      const value = this.#member(otherPlaces(conjunction, new Set(matching)))
      const key = value && this.#key(conjunction, matching, patterns, listed, path)
      return key ? [this.#rule(`${key} ${literal(this.#separators.colon)} ${value}`)] : []
    })
    return members.length === 0 ? undefined : either(members)
  }

  /** Returns the rule of the names that match some patterns and no others; undefined if there are none. */
  #key(
    conjunction: Conjunction,
    matching: readonly string[],
    patterns: readonly string[],
    listed: readonly string[],
    path: string,
  ): string | undefined {
    const others = patterns.filter((pattern) => !matching.includes(pattern))
    const names = this.#parts.alternatives(nameSchemas(conjunction))
    const makers = names.map((one) => () => {
      const values = valuesOf(one, this.#parts)?.filter((name): name is string => typeof name === 'string')
      const schemas = one.map(({ schema }) => schema)
      const isText = !schemas.some(({ type }) => type !== undefined) || commonTypes(schemas).includes('string')
      if (!isText) throw new Impossible('names that are no texts')
      const limits = textLimits(one)
      const all = { ...limits, patterns: [...limits.patterns, ...matching] }
      const isPlain = values === undefined && others.length + listed.length === 0
      if (isPlain && isFree(all)) return this.#string()
      const key = `name ${JSON.stringify([textKey(all), others, listed, values])}`
      return this.#commonRule(key, () =>
        isPlain ? addTexts(this.#rules, all) : addNames(this.#rules, all, { others, listed, values }),
      )
    })
    try {
      return within(path, () => this.#possible(path, makers))
    } catch (error) {
      if (error instanceof Impossible) return undefined
      throw error
    }
  }

  #array(conjunction: Conjunction, path: string): string {
    const least = extreme(conjunction, 'minItems', 1)
    const [from, most] = [least ?? 0, extreme(conjunction, 'maxItems', -1) ?? Number.POSITIVE_INFINITY]
    if (from > MOST_ITEMS) throw new Inexpressible(`minItems above ${MOST_ITEMS} at ${path}`)
    const fixed: string[] = []
    const count = Math.min(fixedItems(conjunction), most)
    while (fixed.length < count) {
      const item = this.#member(itemPlaces(conjunction, fixed.length))
      if (item === undefined) break
      fixed.push(item)
    }
    const places = itemPlaces(conjunction, fixedItems(conjunction))
    const isOpen = fixed.length > 0 && from <= fixed.length && places.every(({ schema }) => schema === true)
    const hasMore = fixed.length === count && most > count && !isOpen
    const item = hasMore ? this.#member(places) : undefined
    const rule = item && this.#rule(item)
    if (from > most || (!rule && from > fixed.length)) throw new Impossible(`minItems at ${path}`)
    // Without a minimum, a tuple has all of its items.
    const needed = least === undefined ? fixed.length : Math.min(from, fixed.length)
    const next = `${this.#comma} ${rule}`
    let rest = '""'
    if (rule && fixed.length > 0) rest = repeated(next, Math.max(0, from - fixed.length), most - fixed.length)
    if (rule && fixed.length === 0) {
      const all = `(${rule} ${repeated(next, Math.max(0, from - 1), most - 1)})`
      rest = from === 0 ? `${all}?` : all
    }
    for (let i = fixed.length - 1; i >= 0; i--) {
      const taken = `${i > 0 ? `${this.#comma} ` : ''}${fixed[i]} ${rest}`
      rest = i < needed ? taken : `(${taken})?`
    }
    return `"[" ${rest} "]"`
  }
}

function textLimits(conjunction: Conjunction): TextLimits {
  const textsOf = (keyword: string) => [
    ...new Set(conjunction.flatMap(({ schema }) => (schema[keyword] as string | undefined) ?? [])),
  ]
  return {
    patterns: textsOf('pattern'),
    formats: textsOf('format'),
    least: extreme(conjunction, 'minLength', 1) ?? 0,
    most: extreme(conjunction, 'maxLength', -1) ?? Number.POSITIVE_INFINITY,
  }
}

const isFree = ({ patterns, formats, least, most }: TextLimits): boolean =>
  patterns.length + formats.length + least === 0 && most === Number.POSITIVE_INFINITY

const textKey = ({ most, ...others }: TextLimits): string => `${JSON.stringify(others)} ${most}`

/** Adds the path to the error for what no grammar can express. */
function within(path: string, make: () => string): string {
  try {
    return make()
  } catch (error) {
    const isPlaced = error instanceof Error && error.message.endsWith(` at ${path}`)
    if (isPlaced || !(error instanceof Inexpressible)) throw error
    const message = `${error.message} at ${path}`
    throw error instanceof Impossible ? new Impossible(message) : new Inexpressible(message)
  }
}

/** Returns the grammar of a text. */
const literal = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`

/** Returns the grammar of at least one alternative, each a rule or a group. */
const either = (parts: readonly string[]): string => (parts.length === 1 ? parts[0]! : `(${parts.join(' | ')})`)

/** Returns the grammar of something from `least` to `most` times. */
function repeated(part: string, least: number, most: number): string {
  if (most === 0) return '""'
  return `(${part}){${least},${most > MOST_ITEMS ? '' : most}}`
}
