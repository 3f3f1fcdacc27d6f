/** Makes grammars of the documents that are valid against a JSON schema. */
import { isObject } from '../../common/arguments.js'
import { shortened } from '../../common/printable.js'
import type { JsonSpacing } from '../../options/constraint.js'
import { GrammarRules } from './grammar-rules.js'
import { Impossible, Inexpressible, textLanguage } from './language.js'
import { type BoundKeywords, narrowest, numberLanguage } from './numbers.js'
import { ANY_TEXT, addTexts, type TextLimits } from './texts.js'

type Schema = Readonly<Record<string, unknown>>

/** Keywords of the schemas of a type. */
const KEYWORDS = {
  object: ['properties', 'required', 'additionalProperties', 'propertyNames', 'minProperties', 'maxProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  boolean: [],
  null: [],
} as const satisfies Readonly<Record<string, readonly string[]>>
type Type = keyof typeof KEYWORDS

/** Keywords that forbid no document. */
const ANNOTATIONS = [
  ...['$schema', '$id', '$comment', '$defs', 'definitions', 'title', 'description', 'default', 'examples', 'id'],
  ...['deprecated', 'readOnly', 'writeOnly', 'contentEncoding', 'contentMediaType', 'nullable'],
]
/** Keywords beside which a schema has no others, except annotations. */
const WHOLE = ['$ref', 'anyOf', 'oneOf', 'allOf', 'enum', 'const'] as const
const isWholeNumber = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0
const isSchema = (value: unknown): boolean => typeof value === 'boolean' || isObject(value)
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
  [
    'a number',
    (value) => typeof value === 'boolean' || Number.isFinite(value),
    ['exclusiveMinimum', 'exclusiveMaximum'],
  ],
  ['a number above 0', (value) => Number.isFinite(value) && Number(value) > 0, ['multipleOf']],
  ['a text', (value) => typeof value === 'string', ['$ref', 'pattern', 'format']],
  ['a schema', isSchema, ['items', 'additionalProperties', 'propertyNames']],
  ['a list of schemas', (value) => isList(value, isSchema), ['prefixItems']],
  ['a list of one schema or more', (value) => isList(value, isSchema, 1), ['anyOf', 'oneOf', 'allOf']],
  ['an object of schemas', (value) => isObject(value) && Object.values(value).every(isSchema), ['properties']],
  ['a list of texts', (value) => isList(value, (one) => typeof one === 'string'), ['required']],
  ['a list', Array.isArray, ['enum']],
  [
    'a type or a list of types',
    (value) => isList([value].flat(), (one) => typeof one === 'string' && Object.hasOwn(KEYWORDS, one), 1),
    ['type'],
  ],
]
const VALUE_OF = new Map(
  VALUES.flatMap(([words, isFitting, keywords]) => keywords.map((key) => [key, { words, isFitting }])),
)

const KNOWN: ReadonlySet<string> = new Set([...ANNOTATIONS, ...WHOLE, 'type', ...Object.values(KEYWORDS).flat()])

/** Maximum number of items that a grammar counts; no text has more. */
const MOST_ITEMS = 1_000_000

/** Texts between members, and between a key and its value. */
const SEPARATORS = { compact: { comma: ',', colon: ':' }, spaced: { comma: ', ', colon: ': ' } } as const

/**
 * Returns the grammar (EBNF, as XGrammar reads it) of documents that are valid against a JSON schema, on one line, with properties
 * in the schema's order and no others where the schema names some.
 * @throws Inexpressible that names the part of the schema that no grammar can express
 */
export function schemaGrammar(schema: unknown, spacing: JsonSpacing = 'either'): string {
  return new SchemaReader(schema).grammar(spacing)
}

class SchemaReader {
  readonly #root: unknown
  readonly #rules = new GrammarRules()
  /** Rules without separators, which both spacings share, by their content. */
  readonly #common = new Map<string, string>()
  /** Rules of schemas that others refer to. */
  readonly #referred = new Map<string, string>()
  /** References that are being followed without a character before them. */
  #followed: readonly string[] = []
  #anyValue: string | undefined
  #spacing: keyof typeof SEPARATORS = 'compact'
  #hasSeparators = false

  constructor(root: unknown) {
    this.#root = root
  }

  grammar(spacing: JsonSpacing): string {
    const first = this.#whole(spacing === 'either' ? 'compact' : spacing)
    const isBoth = spacing === 'either' && this.#hasSeparators
    return this.#rules.grammar(isBoth ? either([first, this.#whole('spaced')]) : first)
  }

  #whole(spacing: keyof typeof SEPARATORS): string {
    this.#spacing = spacing
    this.#referred.clear()
    this.#anyValue = undefined
    return this.#of(this.#root, '#')
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
      return `${object} | ${array} | ${string} | ${this.#number('number')} | "true" | "false" | "null"`
    })
    return this.#anyValue
  }

  #number(type: string, schema: BoundKeywords & { multipleOf?: number } = {}): string {
    const limits = {
      isInteger: type === 'integer',
      low: narrowest([schema], 1),
      high: narrowest([schema], -1),
      multipleOf: schema.multipleOf === undefined ? [] : [schema.multipleOf],
    }
    return this.#commonRule(`number ${JSON.stringify(limits)}`, () => this.#rules.addLanguage(numberLanguage(limits)))
  }

  #of(given: unknown, path: string): string {
    if (given === true) return this.#value()
    const schema = checked(given, path)
    const whole = wholeOf(schema, path)
    if (whole === undefined) return this.#ofTypes(schema, path)
    if (whole === '$ref') return this.#reference(schema, path)
    if (whole === 'enum' || whole === 'const') return this.#values(valuesOf(schema), path)
    return either(this.#parts(schema, whole, path).map((part, i) => this.#of(part, `${path}/${whole}/${i}`)))
  }

  /** Returns the alternatives of a schema. */
  #parts(schema: Schema, whole: 'anyOf' | 'oneOf' | 'allOf', path: string): readonly unknown[] {
    const parts = schema[whole] as readonly unknown[]
    if (whole === 'allOf' && parts.length > 1) throw new Inexpressible(`allOf of several schemas at ${path}`)
    if (whole === 'oneOf' && !this.#areDisjoint(parts)) {
      throw new Inexpressible(`oneOf at ${path}, whose schemas are not told apart by a constant or a type`)
    }
    return parts
  }

  #values(values: readonly unknown[], path: string): string {
    if (values.length === 0) throw new Inexpressible(`no value at ${path}`)
    const texts = values.map((value) => this.#text(value))
    return this.#within(path, () =>
      this.#commonRule(`values ${texts.join()}`, () => this.#rules.addLanguage({ any: texts.map(textLanguage) })),
    )
  }

  /** Returns the JSON of a value. */
  #text(value: unknown): string {
    if (!Array.isArray(value) && !isObject(value)) return JSON.stringify(value)
    const { comma, colon } = this.#separators
    if (Array.isArray(value)) return `[${value.map((one) => this.#text(one)).join(comma)}]`
    const members = Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}${colon}${this.#text(one)}`)
    return `{${members.join(comma)}}`
  }

  #reference(schema: Schema, path: string): string {
    return this.#follow(schema, path, (found, pointer) => {
      const known = this.#referred.get(pointer)
      if (known) return known
      return this.#rules.add((name) => {
        this.#referred.set(pointer, name)
        return this.#of(found, pointer)
      })
    })
  }

  /** Reads the schema that a reference names. */
  #follow<Result>({ $ref }: Schema, path: string, read: (found: unknown, pointer: string) => Result): Result {
    const pointer = $ref as string
    const found = resolve(this.#root, pointer)
    if (found === undefined) throw new Inexpressible(`the reference ${pointer} at ${path}`)
    if (this.#followed.includes(pointer))
      throw new Inexpressible(`the reference ${pointer} at ${path}, which leads back to itself`)
    return this.#following([...this.#followed, pointer], () => read(found, pointer))
  }

  #following<Result>(references: readonly string[], read: () => Result): Result {
    const before = this.#followed
    this.#followed = references
    const result = read()
    this.#followed = before
    return result
  }

  /** Returns the rule of a schema inside another one, after at least one character. */
  #inner(schema: unknown, path: string): string {
    return this.#following([], () => this.#of(schema, path))
  }

  #ofTypes(schema: Schema, path: string): string {
    const types = typesOf(schema)
    if (types.length === 0) return this.#value()
    return either(types.map((type) => this.#ofType(type as Type, schema, path)))
  }

  #ofType(type: Type, schema: Schema, path: string): string {
    if (type === 'boolean') return '("true" | "false")'
    if (type === 'null') return '"null"'
    if (type === 'string') return this.#ofString(schema, path)
    if (type === 'object') return this.#object(schema, path)
    if (type === 'array') return this.#array(schema, path)
    return this.#within(path, () => this.#number(type, schema))
  }

  #ofString({ minLength = 0, maxLength = Number.POSITIVE_INFINITY, pattern, format }: Schema, path: string): string {
    const limits: TextLimits = {
      patterns: pattern === undefined ? [] : [pattern as string],
      formats: format === undefined ? [] : [format as string],
      least: Number(minLength),
      most: Number(maxLength),
    }
    return this.#within(path, () =>
      this.#commonRule(`string ${JSON.stringify(limits)} ${limits.most}`, () => addTexts(this.#rules, limits)),
    )
  }

  /** Adds the path to the error for what no grammar can express. */
  #within(path: string, make: () => string): string {
    try {
      return make()
    } catch (error) {
      if (error instanceof Impossible) throw new Impossible(`${error.message} at ${path}`)
      throw error instanceof Inexpressible ? new Inexpressible(`${error.message} at ${path}`) : error
    }
  }

  #object(schema: Schema, path: string): string {
    const { additionalProperties: others = true, propertyNames, minProperties, maxProperties } = schema
    const { required = [], properties = {} } = schema as { required?: string[]; properties?: Schema }
    const [least, most] = [Number(minProperties ?? 0), Number(maxProperties ?? Number.POSITIVE_INFINITY)]
    const names = this.#namesIn(propertyNames, `${path}/propertyNames`)
    const listed = [...new Set([...Object.keys(properties), ...(names ?? []), ...required])]
    if (listed.length === 0) return this.#map(others, names ? false : propertyNames, { least, most }, path)
    if (isObject(others) && Object.keys(others).length > 0 && Object.keys(properties).length > 0) {
      throw new Inexpressible(`additionalProperties with a schema beside properties at ${path}`)
    }
    if (propertyNames !== undefined && propertyNames !== true && !names)
      throw new Inexpressible(`propertyNames beside properties at ${path}`)
    const isOpen = (key: string) =>
      (names?.includes(key) ?? true) && (Object.hasOwn(properties, key) ? properties[key] : others) !== false
    const closed = required.find((key) => !isOpen(key))
    if (closed !== undefined)
      throw new Inexpressible(`the property ${closed} at ${path}, which is required and forbidden`)
    const keys = listed.filter(isOpen)
    if (least > required.length) throw new Inexpressible(`minProperties at ${path}`)
    if (most < keys.length) throw new Inexpressible(`maxProperties at ${path}`)
    /** The grammars of the properties from here on, with a comma before the first one and without. */
    let [next, first] = ['""', '""']
    for (const key of keys.reverse()) {
      const value = this.#inner(Object.hasOwn(properties, key) ? properties[key] : others, `${path}/properties/${key}`)
      const entry = `${literal(JSON.stringify(key) + this.#separators.colon)} ${value}`
      const isRequired = required.includes(key)
      const rest = next
      next = this.#rule(either([`(${this.#comma} ${entry} ${rest})`, ...(isRequired ? [] : [next])]))
      first = this.#rule(either([`(${entry} ${rest})`, ...(isRequired ? [] : [first])]))
    }
    return `"{" ${first} "}"`
  }

  /** Returns the rule of an object with any properties. JSON may repeat a key, so no minimum above one can be enforced. */
  #map(others: unknown, names: unknown, { least, most }: { least: number; most: number }, path: string): string {
    if (least > 1) throw new Inexpressible(`minProperties at ${path}`)
    const key = others === false || most === 0 ? undefined : this.#key(names ?? true, `${path}/propertyNames`)
    if (key === undefined) {
      if (least > 0) throw new Inexpressible(`an object with a property and without at ${path}`)
      return '"{}"'
    }
    const value = this.#inner(others, `${path}/additionalProperties`)
    const entry = this.#rule(`${key} ${literal(this.#separators.colon)} ${value}`)
    const more = repeated(`${this.#comma} ${entry}`, 0, most - 1)
    return `"{" (${entry} ${more})${least === 0 ? '?' : ''} "}"`
  }

  /** Returns the rule of the names that a schema allows; undefined if it allows none. */
  #key(names: unknown, path: string): string | undefined {
    if (names === true) return this.#string()
    const listed = this.#namesIn(names, path)
    if (listed) return listed.length === 0 ? undefined : this.#values(listed, path)
    const schema = checked(names, path)
    const whole = wholeOf(schema, path)
    if (whole === '$ref') return this.#follow(schema, path, (found, pointer) => this.#key(found, pointer))
    if (whole === 'anyOf' || whole === 'oneOf' || whole === 'allOf') {
      const keys = this.#parts(schema, whole, path).map((part, i) => this.#key(part, `${path}/${whole}/${i}`))
      const rules = keys.filter((key) => key !== undefined)
      return rules.length === 0 ? undefined : either(rules)
    }
    // Keywords of other types do not limit names.
    return [schema.type ?? 'string'].flat().includes('string') ? this.#ofString(schema, path) : undefined
  }

  /** Returns the names that a schema of names lists; undefined if it lists none. */
  #namesIn(names: unknown, path: string): string[] | undefined {
    if (names === false) return []
    if (!isObject(names)) return undefined
    const schema = checked(names, path)
    const whole = wholeOf(schema, path)
    if (whole === '$ref') return this.#follow(schema, path, (found, pointer) => this.#namesIn(found, pointer))
    const isList = whole === 'enum' || whole === 'const'
    return isList ? valuesOf(schema).filter((value) => typeof value === 'string') : undefined
  }

  #array({ items = true, prefixItems = [], minItems = 0, maxItems }: Schema, path: string): string {
    const [least, most] = [Number(minItems), maxItems === undefined ? Number.POSITIVE_INFINITY : Number(maxItems)]
    if (least > MOST_ITEMS) throw new Inexpressible(`minItems above ${MOST_ITEMS} at ${path}`)
    const fixed = (prefixItems as readonly unknown[]).slice(0, most)
    if (least > most || (items === false && least > fixed.length)) throw new Inexpressible(`minItems at ${path}`)
    const start = fixed.map((item, i) => this.#inner(item, `${path}/prefixItems/${i}`))
    const isTuple = fixed.length > 0 && (items === true || items === false) && least <= fixed.length
    if (isTuple || items === false || most === fixed.length)
      return ['"["', start.join(` ${this.#comma} `), '"]"'].filter(Boolean).join(' ')
    const item = this.#rule(this.#inner(items, `${path}/items`))
    const next = `${this.#comma} ${item}`
    if (start.length > 0) {
      return `"[" ${start.join(` ${this.#comma} `)} ${repeated(next, Math.max(0, least - start.length), most - start.length)} "]"`
    }
    const all = `(${item} ${repeated(next, Math.max(0, least - 1), most - 1)})`
    return `"[" ${all}${least === 0 ? '?' : ''} "]"`
  }

  /** Whether no document is valid against two of these schemas, by their types or a required constant. */
  #areDisjoint(schemas: readonly unknown[]): boolean {
    const parts = schemas.map((schema) =>
      isObject(schema) && '$ref' in schema ? (resolve(this.#root, schema.$ref) ?? schema) : schema,
    )
    if (!parts.every(isObject)) return false
    const marks = parts.flatMap(({ properties }) => (isObject(properties) ? Object.keys(properties) : []))
    const valuesOf = ({ properties, required }: Schema, key: string) =>
      Array.isArray(required) && required.includes(key) && isObject(properties) ? constants(properties[key]) : []
    const apart = (lists: readonly (readonly unknown[])[]) => {
      const all = lists.flat().map((value) => JSON.stringify(value))
      return lists.every((list) => list.length > 0) && new Set(all).size === all.length
    }
    const types = parts.map((part) => [...new Set(typesOf(part).map((type) => (type === 'integer' ? 'number' : type)))])
    return (
      apart(types) ||
      apart(parts.map(constants)) ||
      [...new Set(marks)].some((key) => apart(parts.map((part) => valuesOf(part, key))))
    )
  }
}

/** @throws Inexpressible for what no schema is, unknown keywords, and values that their keywords cannot have */
function checked(schema: unknown, path: string): Schema {
  if (!isObject(schema)) throw new Inexpressible(`${shown(schema)} at ${path}`)
  const keywords = Object.keys(schema).filter((key) => !ANNOTATIONS.includes(key))
  const unknown = keywords.find((key) => !KNOWN.has(key))
  if (unknown !== undefined) throw new Inexpressible(`${unknown} at ${path}`)
  for (const key of keywords) {
    const value = VALUE_OF.get(key)
    if (value && !value.isFitting(schema[key]))
      throw new Inexpressible(`${key} at ${path}, which is ${shown(schema[key])} and not ${value.words}`)
  }
  return schema
}

const shown = (value: unknown): string => shortened(JSON.stringify(value) ?? String(value), 60)

/** Returns the keyword of a schema that excludes others, if it has one. */
function wholeOf(schema: Schema, path: string): (typeof WHOLE)[number] | undefined {
  const whole = WHOLE.find((key) => key in schema)
  const isValue = whole === 'enum' || whole === 'const'
  const isBeside = (key: string) => key !== whole && !(isValue && key === 'type') && !ANNOTATIONS.includes(key)
  const other = whole && Object.keys(schema).find(isBeside)
  if (other !== undefined) throw new Inexpressible(`${other} beside ${whole} at ${path}`)
  return whole
}

/** Returns the values of `enum` or `const` that are of the schema's types. */
function valuesOf(schema: Schema): readonly unknown[] {
  const types = schema.type === undefined ? undefined : [schema.type].flat()
  return constants(schema).filter(
    (value) => types === undefined || typesOfValue(value).some((type) => types.includes(type)),
  )
}

function constants(schema: unknown): readonly unknown[] {
  if (!isObject(schema)) return []
  if ('const' in schema) return [schema.const]
  return Array.isArray(schema.enum) ? schema.enum : []
}

/** Returns the types that a schema names, or else the types of its keywords. */
function typesOf(schema: Schema): readonly string[] {
  if (schema.type !== undefined) {
    const types = [schema.type].flat().map(String)
    return types.filter((type) => type !== 'integer' || !types.includes('number'))
  }
  return (['object', 'array', 'string', 'number'] as const).filter((type) =>
    KEYWORDS[type].some((key) => key in schema),
  )
}

function typesOfValue(value: unknown): readonly string[] {
  if (value === null) return ['null']
  if (Array.isArray(value)) return ['array']
  return Number.isInteger(value) ? ['integer', 'number'] : [typeof value]
}

/** Returns the part of a schema that a JSON pointer names. */
function resolve(root: unknown, pointer: unknown): unknown {
  if (typeof pointer !== 'string' || !/^#(?:\/|$)/.test(pointer)) return undefined
  const path = decoded(pointer)
  const keys = path
    ?.split('/')
    .slice(1)
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
  return keys?.reduce<unknown>((part, key) => {
    if (Array.isArray(part)) return part[Number(key)]
    return isObject(part) && Object.hasOwn(part, key) ? part[key] : undefined
  }, root)
}

function decoded(pointer: string): string | undefined {
  try {
    return decodeURIComponent(pointer)
  } catch {
    return undefined
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
