/** Schemas of request fields, whose errors say in words what is expected; further ones are in `common/arguments.ts`. */
import { z } from 'zod'
import { quoted } from '../common/errors.js'
import { optionDefault, optionFacts } from '../schema/option-facts.js'
import { ApiError } from './api-error.js'

export const patternField = (pattern: RegExp, error: string) => z.string({ error }).regex(pattern, { error })

/** A text of at most `most` characters. */
export function shortTextField(most: number) {
  const error = `a non-empty text of at most ${most} characters`
  return z.string({ error }).min(1, { error }).max(most, { error })
}

/** Limits the length of a field's JSON: other requests wait for the process that gets it. */
export const ofCharacters = <Field extends z.ZodType>(field: Field, most: number) =>
  field.refine((value) => JSON.stringify(value).length <= most, { error: `at most ${most} characters of JSON` })

export const wordField = <const Words extends readonly string[]>(words: Words) =>
  z.enum(words, { error: `one of ${words.join(', ')}` })

/** Accepts the forms of a field; errors name all of them. */
export const eitherOf = <const Forms extends readonly [z.ZodType, ...z.ZodType[]]>(expects: string, forms: Forms) =>
  z.union(forms, { error: expects })

/**
 * A list with a limited number of items. Items are read one after the other up to the first that is wrong: a body may hold millions, and
 * zod's arrays make an issue for each.
 */
export function listField<Item extends z.ZodType>(item: Item, expects: string, { least = 0, most }: ListLimits) {
  const isList = (value: unknown) => Array.isArray(value) && value.length >= least && value.length <= most
  return z.custom<unknown[]>(isList, { error: expects, abort: true }).transform((list, context) => {
    const items: z.output<Item>[] = []
    for (const [index, value] of list.entries()) {
      const { success, data, error } = item.safeParse(value)
      if (success) {
        items.push(data)
        continue
      }
      const { message, path } = error.issues[0]!
      context.addIssue({ code: 'custom', message, path: [index, ...path] })
      return z.NEVER
    }
    return items
  })
}

interface ListLimits {
  readonly least?: number
  readonly most: number
}

/**
 * Accepts the values of an option of the library, and -1 for 0 if that is the default: other servers write "off" so. If the field is
 * absent, the option's default is not filled in.
 */
export function optionField<Option extends z.ZodType>(option: Option) {
  const { expects, library } = optionFacts(option)
  const isOff = (value: unknown) => value === -1 && optionDefault(option) === 0 && !option.safeParse(value).success
  const parse = (value: unknown, context: z.RefinementCtx): z.output<Option> => {
    const { success, data } = option.safeParse(isOff(value) ? 0 : value)
    if (success) return data
    context.addIssue({ code: 'custom', message: library?.expects ?? expects })
    return z.NEVER
  }
  return z.unknown().transform(parse).optional()
}

const metadataError = 'a text of at most 512 characters'

/** Sixteen texts of a client by name. */
export const metadataField = z
  .record(z.string(), z.string({ error: metadataError }).max(512, { error: metadataError }), {
    error: 'an object of texts',
  })
  .refine((all) => Object.keys(all).length <= 16 && Object.keys(all).every((key) => key.length <= 64), {
    error: 'at most 16 entries with names of at most 64 characters',
  })

/** Seconds after which a file may expire: an hour to 30 days. */
export const EXPIRY = { least: 3600, most: 2_592_000 }

/**
 * Parses an object. A field that is null counts as absent, as OpenAI's clients mean it.
 * @throws ApiError 400 that names the field
 */
export function parseFields<S extends z.ZodType>(schema: S, body: Readonly<Record<string, unknown>>): z.output<S> {
  const present = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null))
  const result = schema.safeParse(present)
  if (result.success) return result.data
  const { message, path } = result.error.issues[0]!
  const place = placeOf(path)
  const value = path.reduce<unknown>((inside, key) => (inside as Record<PropertyKey, unknown> | null)?.[key], present)
  const received = value === undefined ? 'it is missing' : `received ${quoted(value)}`
  throw wrongField(place, `Expected ${message} for ${place} but ${received}.`)
}

/** Returns the error about one field. */
export const wrongField = (param: string, message: string, problem = 'invalid_value'): ApiError =>
  new ApiError(400, message, { param, code: problem })

function placeOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (place, key) =>
      typeof key === 'number' ? `${place}[${key}]` : place === '' ? String(key) : `${place}.${String(key)}`,
    '',
  )
}
