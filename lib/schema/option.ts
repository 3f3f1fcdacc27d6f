/**
 * Declares options: a zod schema (type, range and default) with a description for people. The command line, its help, YAML
 * files and the library's arguments are all derived from these declarations.
 */
import { z } from 'zod'
import { jsonIn } from '../io/json.js'
import { declare, type OptionFacts } from './option-facts.js'
import { isPattern, parsePatterns, parseSize, parseTargets, parseTexts, splitNames } from './option-values.js'

/** Optional parts of an option's description that its kind does not determine. */
type Words = Partial<Omit<OptionFacts, 'kind' | 'description' | 'choices' | 'adds'>>

/** The range of a number option, with the rest of its description. */
export interface NumberRange extends Words {
  /** Smallest value allowed. */
  min?: number
  /** Values must be greater than this. */
  above?: number
  /** Greatest value allowed. */
  max?: number
  /** Values must be less than this. */
  below?: number
}

/** Builds the description of an option of a kind; `inLibrary` describes a valid value in the library, if it is no text. */
function facts(
  kind: OptionFacts['kind'],
  description: string,
  placeholder: string,
  expects: string,
  words: Words & Pick<OptionFacts, 'choices' | 'adds'>,
  inLibrary?: string,
): OptionFacts {
  const library = inLibrary === undefined ? words.library : { expects: inLibrary, ...words.library }
  return { kind, description, placeholder, expects, ...words, ...(library && { library }) }
}

function rangeText({ min, above, max, below }: NumberRange): string {
  const parts = [
    min !== undefined && `of at least ${min}`,
    above !== undefined && `above ${above}`,
    max !== undefined && `up to ${max}`,
    below !== undefined && `below ${below}`,
  ]
  return parts
    .filter((part) => part !== false)
    .map((part) => ` ${part}`)
    .join('')
}

function ranged(schema: z.ZodNumber, { min, above, max, below }: NumberRange): z.ZodNumber {
  let bounded = schema
  if (min !== undefined) bounded = bounded.min(min)
  if (above !== undefined) bounded = bounded.gt(above)
  if (max !== undefined) bounded = bounded.max(max)
  if (below !== undefined) bounded = bounded.lt(below)
  return bounded
}

function numberFacts(description: string, noun: string, placeholder: string, range: NumberRange): OptionFacts {
  return { kind: 'number', description, placeholder, expects: `${noun}${rangeText(range)}`, ...range }
}

/** A whole number with a default. */
export function integer(description: string, fallback: number, range: NumberRange = {}) {
  const schema = ranged(z.int(), range).default(fallback)
  return declare(schema, numberFacts(description, 'a whole number', 'N', range))
}

/** An optional whole number. */
export function optionalInteger(description: string, range: NumberRange = {}) {
  return declare(ranged(z.int(), range).optional(), numberFacts(description, 'a whole number', 'N', range))
}

/** A finite number with a default. */
export function real(description: string, fallback: number, range: NumberRange = {}) {
  return declare(ranged(z.number(), range).default(fallback), numberFacts(description, 'a number', 'X', range))
}

/** An optional finite number. */
export function optionalReal(description: string, range: NumberRange = {}) {
  return declare(ranged(z.number(), range).optional(), numberFacts(description, 'a number', 'X', range))
}

/** True or false, with a default. */
export function flag(description: string, fallback = false, words: Words = {}) {
  return declare(z.boolean().default(fallback), facts('flag', description, '', 'true or false', words))
}

/** True, false, or left out. */
export function optionalFlag(description: string, words: Words = {}) {
  return declare(z.boolean().optional(), facts('flag', description, '', 'true or false', words))
}

/** An optional string: a path, a name, a text. */
export function text(description: string, placeholder: string, words: Words = {}) {
  return declare(
    z.string().min(1).optional(),
    facts('text', description, placeholder, `a non-empty ${placeholder.toLowerCase()}`, words),
  )
}

/** A string with a default; `schema` may narrow it. */
export function textWithDefault(description: string, placeholder: string, fallback: string, words: Words = {}) {
  return declare(
    z.string().min(1).default(fallback),
    facts('text', description, placeholder, `a non-empty ${placeholder.toLowerCase()}`, words),
  )
}

/** An optional object, or JSON of one, which must not have the `reserved` keys. */
export function optionalObject(description: string, reserved: readonly string[], words: Words = {}) {
  const object = z.record(z.string(), z.unknown()).refine((value) => !reserved.some((name) => name in value))
  const schema = z.union([z.string().transform(jsonIn).pipe(object), object]).optional()
  return declare(schema, facts('text', description, 'JSON', 'a JSON object', words, 'an object'))
}

/** An optional path of a file, or the list that the file contains. */
export function fileOrList(description: string, words: Words = {}) {
  const schema = z.union([z.string().min(1), z.array(z.unknown())]).optional()
  return declare(schema, facts('text', description, 'FILE', 'the path of a file', words))
}

/** An optional memory size in bytes: a number, or a text such as `2GiB`, `1.5 GB` or `800M` (binary without B). */
export function optionalSize(description: string, words: Words = {}) {
  const bytes = z.int().min(1)
  return declare(
    z.union([bytes, z.string().transform(parseSize).pipe(bytes)]).optional(),
    facts(
      'text',
      description,
      'SIZE',
      'a size as 2GiB or 800MB',
      words,
      'a number of bytes, or a size as 2GiB or 800MB',
    ),
  )
}

/** A string that matches a pattern, with a default. */
export function pattern(description: string, placeholder: string, form: RegExp, fallback: string, words: Words) {
  return declare(z.string().regex(form).default(fallback), facts('text', description, placeholder, placeholder, words))
}

/** An optional string that matches a pattern. */
export function optionalPattern(description: string, placeholder: string, form: RegExp, words: Words) {
  return declare(z.string().regex(form).optional(), facts('text', description, placeholder, placeholder, words))
}

function choiceFacts(description: string, values: readonly string[], words: Words): OptionFacts {
  const expects = `one of ${values.join(', ')}`
  return facts('choice', description, values.join('|'), expects, { choices: values, ...words })
}

/** The type of `choice`, spelt out because TypeScript's inferred type cannot be written to declarations. */
type Choice<Word extends string> = z.ZodPipe<
  z.ZodOptional<z.ZodEnum<{ [W in Word]: W }>>,
  z.ZodTransform<Word, Word | undefined>
>

/** One of a few words, with a default. */
export function choice<const Values extends readonly [string, ...string[]]>(
  description: string,
  values: Values,
  fallback: Values[number],
  words: Words = {},
): Choice<Values[number]> {
  const schema = z
    .enum(values)
    .optional()
    .transform((value): Values[number] => value ?? fallback)
  return declare(schema as unknown as Choice<Values[number]>, choiceFacts(description, values, words))
}

/** One of a few words, optional. */
export function optionalChoice<const Values extends readonly [string, ...string[]]>(
  description: string,
  values: Values,
  words: Words = {},
) {
  return declare(z.enum(values).optional(), choiceFacts(description, values, words))
}

/** Names, comma-separated on the command line; the last occurrence counts. */
export function names(description: string, words: Words = {}) {
  const schema = z.union([z.string().min(1).transform(splitNames), z.array(z.string().min(1))]).optional()
  return declare(schema, facts('list', description, 'NAMES', 'names with commas', words, 'a list of names'))
}

/** Finite numbers, comma-separated on the command line. */
export function reals(description: string, words: Words = {}) {
  const list = z.array(z.number()).min(1)
  const split = (value: string) => splitNames(value).map(Number)
  const schema = z.union([z.number().transform((one) => [one]), z.string().min(1).transform(split).pipe(list), list])
  return declare(
    schema.optional(),
    facts('list', description, 'X,…', 'numbers with commas', words, 'a list of numbers'),
  )
}

/** An ordered list of words out of a few, `most` at most, comma-separated on the command line. */
export function choices<const Values extends readonly [string, ...string[]]>(
  description: string,
  values: Values,
  { most = Number.POSITIVE_INFINITY, ...words }: Words & { most?: number } = {},
) {
  const list = z.array(z.enum(values)).min(1).max(most)
  const schema = z.union([z.string().min(1).transform(splitNames).pipe(list), list]).optional()
  const all = values.join(', ')
  return declare(
    schema,
    facts(
      'list',
      description,
      values.join('|'),
      most === 1 ? `one of ${all}` : `names with commas out of ${all}`,
      { choices: values, ...words },
      most === 1 ? `a list of one of ${all}` : `a list out of ${all}`,
    ),
  )
}

/** Names, a regular expression, or a word that stands for many names. */
export function namesOrPattern<const Word extends string>(description: string, word: Word, words: Words = {}) {
  const schema = z
    .union([
      z.instanceof(RegExp),
      z.string().min(1).transform(parseTargets<Word>(word)),
      z.array(z.string().min(1)).min(1),
    ])
    .optional()
  return declare(
    schema,
    facts(
      'list',
      description,
      'NAMES',
      `${word}, names with commas, or a regular expression between slashes`,
      words,
      `${word}, a list of names, or a regular expression`,
    ),
  )
}

/** Positive numbers by patterns: an object, or a comma-separated list of `PATTERN=NUMBER`. */
export function numbersByPattern(
  description: string,
  { integers = false, ...words }: Words & { integers?: boolean } = {},
) {
  const values = `positive ${integers ? 'whole ' : ''}numbers`
  const number = integers ? z.int().positive() : z.number().positive()
  const numbers = z.record(z.string().min(1).refine(isPattern), number)
  const schema = z.union([numbers, z.string().min(1).transform(parsePatterns).pipe(numbers)]).optional()
  return declare(
    schema,
    facts(
      'list',
      description,
      'PATTERN=N,…',
      `patterns with ${values}, as down_proj=16,q_proj=4`,
      words,
      `${values} by patterns, as { down_proj: 16, q_proj: 4 }`,
    ),
  )
}

/** Positive numbers by names: an object, or a comma-separated list of `NAME=NUMBER`; or a word that stands for some. */
export function numbersByName<const Word extends string>(description: string, word: Word, words: Words = {}) {
  const numbers = z.record(z.string().min(1), z.number().positive())
  const parsed = z.string().min(1).transform(parsePatterns).pipe(numbers)
  const schema = z.union([z.literal(word), numbers, parsed]).optional()
  const expects = `${word}, or names with positive numbers`
  return declare(
    schema,
    facts('list', description, 'NAME=X,…', `${expects}, as a=1,b=2`, words, `${expects}, as { a: 1, b: 2 }`),
  )
}

/** Texts by names out of a few: an object, or a comma-separated list of `NAME=TEXT`. */
export function textsByName(description: string, names: readonly string[], words: Words = {}) {
  const given = z.record(
    z.string().refine((name) => names.includes(name)),
    z.string().min(1),
  )
  const schema = z.union([given, z.string().min(1).transform(parseTexts).pipe(given)]).optional()
  return declare(schema, facts('list', description, 'NAME=TEXT,…', 'names with texts', words, 'texts by names'))
}

/** Paths: one on the command line, where the last occurrence counts or, with `adds`, each occurrence adds one. */
export function texts(description: string, placeholder: string, words: Words & Pick<OptionFacts, 'adds'> = {}) {
  const schema = z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .transform((value) => (typeof value === 'string' ? [value] : value))
    .optional()
  return declare(schema, facts('texts', description, placeholder, 'a path, or a list of paths', words))
}

/** Paths as in `texts`, or other inputs of the library; `read` returns undefined for invalid values. */
export function textsOr<Input, Output>(
  description: string,
  placeholder: string,
  read: (value: unknown) => Output | undefined,
  words: Words & Pick<OptionFacts, 'adds'> = {},
) {
  const schema = z
    .custom<Input>((value) => read(value) !== undefined)
    .transform((value) => read(value) as Output)
    .optional()
  return declare(schema, facts('texts', description, placeholder, 'a path, or a list of paths', words))
}

/** A flag with an optional value: true without one. */
export function optionalText(description: string, placeholder: string, words: Words = {}) {
  return declare(
    z.union([z.boolean(), z.string().min(1)]).default(false),
    facts('optional-text', description, placeholder, `nothing or a ${placeholder.toLowerCase()}`, words),
  )
}
