/** Makes grammars of the documents that are valid against a JSON schema. */
import { z } from 'zod'
import { isObject } from '../../common/arguments.js'
import { Inexpressible } from './inexpressible.js'
import { ALL_CODES, GrammarRules, type Language, oneInJson, textLanguage, without } from './language.js'
import { integerPattern, type NumberBounds, numberPattern } from './numbers.js'
import { regexLanguage, WHOLE_TEXT } from './regex.js'

type Schema = Readonly<Record<string, unknown>>

/** What the schemas of a type may say. */
const KEYWORDS = {
  object: ['properties', 'required', 'additionalProperties', 'propertyNames', 'minProperties', 'maxProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  boolean: [],
  null: [],
} as const satisfies Readonly<Record<string, readonly string[]>>
type Type = keyof typeof KEYWORDS

/** What schemas say of themselves, which forbids no document. */
const ANNOTATIONS = [
  ...['$schema', '$id', '$comment', '$defs', 'definitions', 'title', 'description', 'default', 'examples', 'id'],
  ...['deprecated', 'readOnly', 'writeOnly', 'contentEncoding', 'contentMediaType', 'nullable'],
]
/** Keywords each of which says all that a schema says. */
const WHOLE = ['$ref', 'anyOf', 'oneOf', 'allOf', 'enum', 'const']
const KNOWN: ReadonlySet<string> = new Set([...ANNOTATIONS, ...WHOLE, 'type', ...Object.values(KEYWORDS).flat()])

/** Formats that are enforced. */
const FORMATS: Readonly<Record<string, RegExp>> = {
  date: z.regexes.date,
  time: /^(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/,
  'date-time': z.regexes.datetime({ offset: true }),
  email: /^[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,63}$/,
  uuid: z.regexes.uuid4,
  ipv4: z.regexes.ipv4,
}

/** Longest text whose length is bounded. Compiling takes some milliseconds for each character. */
const MOST_LENGTH = 512

/** A character of a string, or a short escape. */
const CHARACTER: Language = oneInJson(without(ALL_CODES, [[0, 0x1f]]))
const HEX: Language = {
  bytes: [
    [0x30, 0x39],
    [0x41, 0x46],
    [0x61, 0x66],
  ],
}
const quoted = (inside: Language): Language => ({ row: [textLanguage('"'), inside, textLanguage('"')] })
const anyNumber = (part: Language): Language => ({ part, least: 0, most: Number.POSITIVE_INFINITY })
const STRING = quoted(anyNumber({ any: [CHARACTER, { row: [textLanguage('\\u'), { part: HEX, least: 4, most: 4 }] }] }))
const INTEGER = '-?(?:0|[1-9][0-9]{0,17})'
const NUMBER = `${INTEGER}(?:\\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,2})?`

/**
 * Returns the grammar (EBNF, as XGrammar reads it) of documents that are valid against a JSON schema, on one line, with properties
 * in the schema's order and no others where the schema names some.
 * @throws Inexpressible that names what the schema asks for and no grammar here can give
 */
export function schemaGrammar(schema: unknown): string {
  return new SchemaReader(schema).grammar()
}

class SchemaReader {
  readonly #root: unknown
  readonly #rules = new GrammarRules()
  /** Rules of what every schema may ask for. */
  readonly #common = new Map<string, string>()
  /** Rules of schemas that others refer to. */
  readonly #referred = new Map<string, string>()

  constructor(root: unknown) {
    this.#root = root
  }

  grammar(): string {
    return this.#rules.grammar(this.#of(this.#root, '#'))
  }

  #rule(body: string): string {
    return this.#rules.add(() => body)
  }

  /** Returns the rule of a pattern without anchors whose texts are JSON. */
  #pattern(source: string): string {
    return this.#rules.addLanguage(regexLanguage(source, WHOLE_TEXT))
  }

  #commonRule(name: string, make: () => string): string {
    const known = this.#common.get(name)
    if (known) return known
    const rule = make()
    this.#common.set(name, rule)
    return rule
  }

  #string(): string {
    return this.#commonRule('string', () => this.#rules.addLanguage(STRING))
  }

  /** Returns the rule of any value of JSON. */
  #value(): string {
    return this.#commonRule('value', () =>
      this.#rules.add((value) => {
        const string = this.#string()
        this.#common.set('value', value)
        const member = this.#rule(`${string} ": " ${value}`)
        const object = this.#rule(`"{" (${member} (", " ${member})*)? "}"`)
        const array = this.#rule(`"[" (${value} (", " ${value})*)? "]"`)
        return `${object} | ${array} | ${string} | ${this.#number('number')} | "true" | "false" | "null"`
      }),
    )
  }

  #number(type: string): string {
    return this.#commonRule(type, () => this.#pattern(type === 'integer' ? INTEGER : NUMBER))
  }

  #of(schema: unknown, path: string): string {
    if (schema === true) return this.#value()
    if (!isObject(schema)) throw new Inexpressible(`${JSON.stringify(schema)} at ${path}`)
    const says = Object.keys(schema).filter((key) => !ANNOTATIONS.includes(key))
    const unknown = says.find((key) => !KNOWN.has(key))
    if (unknown !== undefined) throw new Inexpressible(`${unknown} at ${path}`)
    const whole = WHOLE.find((key) => key in schema)
    if (whole === undefined) return this.#ofTypes(schema, path)
    const isValue = whole === 'enum' || whole === 'const'
    const other = says.find((key) => key !== whole && !(isValue && key === 'type'))
    if (other !== undefined) throw new Inexpressible(`${other} beside ${whole} at ${path}`)
    const given = schema[whole]
    if (whole === '$ref') return this.#reference(given, path)
    if (isValue) return this.#values(whole === 'const' ? [given] : given, schema, path)
    if (!Array.isArray(given) || given.length === 0) throw new Inexpressible(`${whole} at ${path}`)
    if (whole === 'allOf' && given.length > 1) throw new Inexpressible(`allOf of several schemas at ${path}`)
    if (whole === 'oneOf' && !this.#areDisjoint(given)) {
      throw new Inexpressible(`oneOf at ${path}, whose schemas are not told apart by a constant or a type`)
    }
    return either(given.map((part, i) => this.#of(part, `${path}/${whole}/${i}`)))
  }

  #values(values: unknown, schema: Schema, path: string): string {
    const types = schema.type === undefined ? undefined : [schema.type].flat()
    const fitting = (Array.isArray(values) ? values : []).filter(
      (value) => types === undefined || typesOfValue(value).some((type) => types.includes(type)),
    )
    if (fitting.length === 0) throw new Inexpressible(`no value at ${path}`)
    return this.#rules.addLanguage({ any: fitting.map((value) => textLanguage(JSON.stringify(value))) })
  }

  #reference(pointer: unknown, path: string): string {
    const found = resolve(this.#root, pointer)
    if (typeof pointer !== 'string' || found === undefined)
      throw new Inexpressible(`the reference ${pointer} at ${path}`)
    const known = this.#referred.get(pointer)
    if (known) return known
    return this.#rules.add((name) => {
      this.#referred.set(pointer, name)
      return this.#of(found, pointer)
    })
  }

  #ofTypes(schema: Schema, path: string): string {
    const types = typesOf(schema)
    if (types.length === 0) return this.#value()
    const unknown = types.find((type) => !(type in KEYWORDS))
    if (unknown !== undefined) throw new Inexpressible(`the type ${unknown} at ${path}`)
    return either(types.map((type) => this.#ofType(type as Type, schema, path)))
  }

  #ofType(type: Type, schema: Schema, path: string): string {
    if (type === 'boolean') return '("true" | "false")'
    if (type === 'null') return '"null"'
    if (type === 'string') return this.#text(schema, path)
    if (type === 'object') return this.#object(schema, path)
    if (type === 'array') return this.#array(schema, path)
    if (KEYWORDS.number.every((key) => schema[key] === undefined)) return this.#number(type)
    const pattern = type === 'integer' ? integerPattern : numberPattern
    return this.#within(path, () => this.#pattern(pattern(schema as NumberBounds)))
  }

  #text({ minLength, maxLength, pattern, format }: Schema, path: string): string {
    const hasLength = minLength !== undefined || maxLength !== undefined
    const regex = typeof pattern === 'string' ? pattern : FORMATS[String(format)]?.source
    if (regex === undefined && format !== undefined) throw new Inexpressible(`the format ${format} at ${path}`)
    if (regex !== undefined && hasLength) throw new Inexpressible(`a length beside a pattern or format at ${path}`)
    if (regex !== undefined) {
      const inside = regexLanguage(regex, { one: oneInJson, around: anyNumber(CHARACTER) })
      return this.#within(path, () => this.#rules.addLanguage(quoted(inside)))
    }
    if (!hasLength) return this.#string()
    const [least, most] = [Number(minLength ?? 0), Number(maxLength ?? Number.POSITIVE_INFINITY)]
    const length = most === Number.POSITIVE_INFINITY ? least : most
    if (length > MOST_LENGTH) throw new Inexpressible(`a length above ${MOST_LENGTH} at ${path}`)
    // A negated class, which the library knows as characters of UTF-8, compiles far faster than a state for each of their bytes.
    return `"\\"" ${repeated('[^\\"\\\\\\x00-\\x1f]', least, most)} "\\""`
  }

  /** Adds to what is not expressible where it is asked for. */
  #within(path: string, make: () => string): string {
    try {
      return make()
    } catch (error) {
      throw error instanceof Inexpressible ? new Inexpressible(`${error.message} at ${path}`) : error
    }
  }

  #object(schema: Schema, path: string): string {
    const { additionalProperties: others, propertyNames, minProperties = 0, maxProperties } = schema
    const required = Array.isArray(schema.required) ? schema.required.map(String) : []
    const named = isObject(propertyNames) && Array.isArray(propertyNames.enum) ? propertyNames.enum.map(String) : []
    const given = isObject(schema.properties) ? schema.properties : {}
    const keys = [...new Set([...Object.keys(given), ...named, ...required])]
    const least = Number(minProperties)
    if (keys.length === 0) return this.#map(others, propertyNames, least, maxProperties, path)
    if (isObject(others) && Object.keys(others).length > 0 && Object.keys(given).length > 0) {
      throw new Inexpressible(`additionalProperties with a schema beside properties at ${path}`)
    }
    if (propertyNames !== undefined && named.length === 0)
      throw new Inexpressible(`propertyNames beside properties at ${path}`)
    if (least > required.length) throw new Inexpressible(`minProperties at ${path}`)
    if (maxProperties !== undefined && Number(maxProperties) < keys.length)
      throw new Inexpressible(`maxProperties at ${path}`)
    /** What follows when all properties from here on are left, with a comma before the next and without. */
    let [next, first] = ['""', '""']
    for (const key of keys.reverse()) {
      if (given[key] === false && !required.includes(key)) continue
      const value = this.#of(Object.hasOwn(given, key) ? given[key] : (others ?? true), `${path}/properties/${key}`)
      const entry = `${literal(`${JSON.stringify(key)}: `)} ${value}`
      const isRequired = required.includes(key)
      const rest = next
      next = this.#rule(either([`(", " ${entry} ${rest})`, ...(isRequired ? [] : [next])]))
      first = this.#rule(either([`(${entry} ${rest})`, ...(isRequired ? [] : [first])]))
    }
    return `"{" ${first} "}"`
  }

  /** An object of any properties. JSON may repeat a key, so no least number above one can be enforced. */
  #map(others: unknown, names: unknown, least: number, most: unknown, path: string): string {
    if (least > 1) throw new Inexpressible(`minProperties at ${path}`)
    if (others === false || most === 0) {
      if (least > 0) throw new Inexpressible(`an object with a property and without at ${path}`)
      return '"{}"'
    }
    const key =
      names === undefined
        ? this.#string()
        : this.#ofType('string', isObject(names) ? names : {}, `${path}/propertyNames`)
    const entry = this.#rule(`${key} ": " ${this.#of(others ?? true, `${path}/additionalProperties`)}`)
    const more = repeated(`", " ${entry}`, 0, Number(most ?? Number.POSITIVE_INFINITY) - 1)
    return `"{" (${entry} ${more})${least === 0 ? '?' : ''} "}"`
  }

  #array({ items = true, prefixItems, minItems = 0, maxItems }: Schema, path: string): string {
    const [least, most] = [Number(minItems), maxItems === undefined ? Number.POSITIVE_INFINITY : Number(maxItems)]
    const fixed = (Array.isArray(prefixItems) ? prefixItems : []).slice(0, most)
    if (least > most || (items === false && least > fixed.length)) throw new Inexpressible(`minItems at ${path}`)
    const start = fixed.map((item, i) => this.#of(item, `${path}/prefixItems/${i}`))
    const isTuple = fixed.length > 0 && (items === true || items === false) && least <= fixed.length
    if (isTuple || items === false || most === fixed.length)
      return ['"["', start.join(' ", " '), '"]"'].filter(Boolean).join(' ')
    const item = this.#rule(this.#of(items, `${path}/items`))
    if (start.length > 0) {
      return `"[" ${start.join(' ", " ')} ${repeated(`", " ${item}`, Math.max(0, least - start.length), most - start.length)} "]"`
    }
    const all = `(${item} ${repeated(`", " ${item}`, Math.max(0, least - 1), most - 1)})`
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

function constants(schema: unknown): readonly unknown[] {
  if (!isObject(schema)) return []
  if ('const' in schema) return [schema.const]
  return Array.isArray(schema.enum) ? schema.enum : []
}

/** Returns the types that a schema names, or those of which it speaks. */
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
  const keys = pointer
    .split('/')
    .slice(1)
    .map((key) => decodeURIComponent(key).replaceAll('~1', '/').replaceAll('~0', '~'))
  return keys.reduce<unknown>((part, key) => {
    if (Array.isArray(part)) return part[Number(key)]
    return isObject(part) && Object.hasOwn(part, key) ? part[key] : undefined
  }, root)
}

/** Returns the grammar of a text. */
const literal = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`

/** Returns the grammar of alternatives, each a rule or a group, of which there is at least one. */
const either = (parts: readonly string[]): string => (parts.length === 1 ? parts[0]! : `(${parts.join(' | ')})`)

/** Returns the grammar of something from `least` to `most` times. */
function repeated(part: string, least: number, most: number): string {
  if (most === 0) return '""'
  return `(${part}){${least},${most === Number.POSITIVE_INFINITY ? '' : most}}`
}
