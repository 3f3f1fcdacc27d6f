/**
 * Checks arguments of public functions and methods against schemas; errors name the argument. Internal calls rely on
 * TypeScript's types, and operations on the addon's checks.
 */
import { z } from 'zod'
import { quoted, UsageError } from './errors.js'

/** Words that follow "Expected" in errors, if a schema's type does not say enough. */
const expectations = z.registry<{ expects: string }>()
/** Names of objects of options in errors. */
const names = z.registry<{ name: string }>()

/** Returns a copy of the schema whose errors say that they expected `expects`. */
export function expecting<S extends z.ZodType>(expects: string, schema: S): S {
  const copy = schema.clone()
  expectations.add(copy, { expects })
  return copy
}

/** Returns a schema that says what it expects where the server parses it too: `words` are for each of its parts. */
const worded = <S extends z.ZodType>(expects: string, schema: (words: { error: string }) => S): S =>
  expecting(expects, schema({ error: expects }))

/** Whether a value is an object with values by name, not a list, typed array, map, date or the like. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  Object.prototype.toString.call(value) === '[object Object]'

/** Returns a schema of values for which `fits` is true. */
export const custom = <Value = unknown>(expects: string, fits: (value: unknown) => boolean) =>
  worded(expects, (words) => z.custom<Value>(fits, words))

export const aText = worded('a non-empty text', (words) => z.string(words).min(1, words))
export const anyText = worded('a text', (words) => z.string(words))
export const aFlag = worded('true or false', (words) => z.boolean(words))
export const aFunction = custom('a function', (value) => typeof value === 'function')
export const aSignal = expecting('an AbortSignal', z.instanceof(AbortSignal))
export const anObject = custom<Record<string, unknown>>('an object', isObject)
export const aNumber = expecting('a finite number', z.number())
export const listOfTexts = expecting('a list of texts', z.array(aText))
export const float32s = expecting('a Float32Array', z.instanceof(Float32Array))

export const atLeast = (least: number) => expecting(`a finite number of at least ${least}`, z.number().min(least))

export const positive = expecting('a finite number above 0', z.number().positive())

export const wholeFrom = (least: number) =>
  worded(`a whole number of at least ${least}`, (words) => z.int(words).min(least, words))

export const wholeBetween = (least: number, most: number) =>
  worded(`a whole number from ${least} to ${most}`, (words) => z.int(words).min(least, words).max(most, words))

export const numberBetween = (least: number, most: number) =>
  worded(`a number from ${least} to ${most}`, (words) => z.number(words).min(least, words).max(most, words))

/** A list or a typed array of whole numbers, such as token ids. */
export const wholes = custom('a list of whole numbers', isListOfWholes)

/** Returns a schema of objects with these methods and properties, of any class. */
export const having = (expects: string, ...members: readonly (string | symbol)[]) =>
  custom(expects, (value) => typeof value === 'object' && value !== null && members.every((name) => name in value))

/** Returns a schema of an object of options that checks those in `shape` and accepts all others. */
export function optionsSchema<Shape extends z.ZodRawShape>(name: string, shape: Shape) {
  const schema = z.looseObject(shape)
  names.add(schema, { name })
  return schema
}

/**
 * Checks arguments by name, each by the schema of that name.
 * @throws UsageError `bad-value` that names the argument or option, with what was expected and what came
 */
export function check<Name extends string>(
  values: Readonly<Record<Name, unknown>>,
  schemas: Readonly<Record<Name, z.ZodType>>,
): void {
  for (const name in schemas) {
    if (!fits(values[name], schemas[name])) throw refusal(name, values[name], schemas[name])
  }
}

/** Makes the error for a value that does not fit. */
export function badValue(name: string, expects: string, value: unknown): UsageError {
  return new UsageError('bad-value', `Expected ${expects} for ${name} but received ${quoted(value)}.`)
}

function fits(value: unknown, schema: z.ZodType): boolean {
  return (!(schema instanceof z.ZodObject) || isObject(value)) && schema.safeParse(value).success
}

function refusal(name: string, value: unknown, schema: z.ZodType): UsageError {
  if (!(schema instanceof z.ZodObject)) return badValue(name, expected(schema), value)
  if (!isObject(value)) return badValue(names.get(schema)?.name ?? name, 'an object', value)
  const options = Object.entries(schema.shape as Record<string, z.ZodType>)
  const [key, option] = options.find(([key, option]) => !fits(value[key], option))!
  return refusal(key, value[key], option)
}

function expected(schema: z.ZodType): string {
  const expects = expectations.get(schema)?.expects
  if (expects !== undefined) return expects
  if (schema instanceof z.ZodOptional) return expected(schema.unwrap() as z.ZodType)
  if (schema instanceof z.ZodNullable) return `${expected(schema.unwrap() as z.ZodType)} or null`
  if (schema instanceof z.ZodUnion) return (schema.options as z.ZodType[]).map(expected).join(' or ')
  if (schema instanceof z.ZodEnum) return `one of ${schema.options.join(', ')}`
  throw new TypeError('Expected a schema that says what it expects.')
}

/** Whether a value is a list or a typed array of whole numbers. */
export function isListOfWholes(value: unknown): value is ArrayLike<number> {
  if (Array.isArray(value)) return value.every(Number.isSafeInteger)
  return (
    value instanceof Int32Array ||
    value instanceof Uint32Array ||
    value instanceof Uint16Array ||
    value instanceof Uint8Array
  )
}
