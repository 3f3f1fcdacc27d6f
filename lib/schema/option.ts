/**
 * How one option is declared: a zod schema (its type, range and default) with what a person needs to know beside it.
 * The command line, its help, YAML files and the library's arguments are all read from these declarations.
 */
import { z } from 'zod'
import { jsonIn } from '../io/json.js'
import { declare, type OptionFacts } from './option-facts.js'
import { isPattern, parsePatterns, parseSize, parseTargets, splitNames } from './option-values.js'

/** What may be said of an option beside what its kind says. */
type Words = Partial<Omit<OptionFacts, 'kind' | 'description' | 'choices' | 'adds'>>

/** Which numbers an option accepts, and what help says of them. */
export interface NumberRange extends Words {
  /** Least value allowed; with `above`, the value itself is not. */
  min?: number
  /** Values must be more than this. */
  above?: number
  /** Greatest value allowed. */
  max?: number
  /** Values must be less than this. */
  below?: number
}

/** The facts of an option: what its kind says, and what else is said of it. */
function facts(
  kind: OptionFacts['kind'],
  description: string,
  placeholder: string,
  expects: string,
  words: Words & Pick<OptionFacts, 'choices' | 'adds'>,
): OptionFacts {
  return { kind, description, placeholder, expects, ...words }
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

/** A whole number that may be left out. */
export function optionalInteger(description: string, range: NumberRange = {}) {
  return declare(ranged(z.int(), range).optional(), numberFacts(description, 'a whole number', 'N', range))
}

/** A finite number with a default. */
export function real(description: string, fallback: number, range: NumberRange = {}) {
  return declare(ranged(z.number(), range).default(fallback), numberFacts(description, 'a number', 'X', range))
}

/** A finite number that may be left out. */
export function optionalReal(description: string, range: NumberRange = {}) {
  return declare(ranged(z.number(), range).optional(), numberFacts(description, 'a number', 'X', range))
}

/** True or false, with a default. */
export function flag(description: string, fallback = false, words: Words = {}) {
  return declare(z.boolean().default(fallback), facts('flag', description, '', 'true or false', words))
}

/** True or false, or left out. */
export function optionalFlag(description: string, words: Words = {}) {
  return declare(z.boolean().optional(), facts('flag', description, '', 'true or false', words))
}

/** A string that may be left out: a path, a name, a text. */
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

/** An object by name, or JSON of one, that may be left out. `reserved` names are not its own. */
export function optionalObject(description: string, reserved: readonly string[], words: Words = {}) {
  const object = z.record(z.string(), z.unknown()).refine((value) => !reserved.some((name) => name in value))
  const schema = z.union([z.string().transform(jsonIn).pipe(object), object]).optional()
  return declare(schema, facts('text', description, 'JSON', 'a JSON object', words))
}

/** The path of a file, or the list that is in it, that may be left out. */
export function fileOrList(description: string, words: Words = {}) {
  const schema = z.union([z.string().min(1), z.array(z.unknown())]).optional()
  return declare(schema, facts('text', description, 'FILE', 'the path of a file', words))
}

/** A size of memory [bytes] that may be left out: a number, or a text as `2GiB`, `1.5 GB` or `800M` (binary without B). */
export function optionalSize(description: string, words: Words = {}) {
  const bytes = z.int().min(1)
  return declare(
    z.union([bytes, z.string().transform(parseSize).pipe(bytes)]).optional(),
    facts('text', description, 'SIZE', 'a size as 2GiB or 800MB', words),
  )
}

/** A string of a given pattern, with a default. */
export function pattern(description: string, placeholder: string, form: RegExp, fallback: string, words: Words) {
  return declare(z.string().regex(form).default(fallback), facts('text', description, placeholder, placeholder, words))
}

/** A string of a given pattern that may be left out. */
export function optionalPattern(description: string, placeholder: string, form: RegExp, words: Words) {
  return declare(z.string().regex(form).optional(), facts('text', description, placeholder, placeholder, words))
}

function choiceFacts(description: string, values: readonly string[], words: Words): OptionFacts {
  const expects = `one of ${values.join(', ')}`
  return facts('choice', description, values.join('|'), expects, { choices: values, ...words })
}

/** What `choice` declares: spelt out, because what TypeScript infers cannot be read back from its declarations. */
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

/** One of a few words, or left out. */
export function optionalChoice<const Values extends readonly [string, ...string[]]>(
  description: string,
  values: Values,
  words: Words = {},
) {
  return declare(z.enum(values).optional(), choiceFacts(description, values, words))
}

/** Names, with commas between them on the command line; the last occurrence counts. */
export function names(description: string, words: Words = {}) {
  const schema = z.union([z.string().min(1).transform(splitNames), z.array(z.string().min(1))]).optional()
  return declare(schema, facts('list', description, 'NAMES', 'names with commas', words))
}

/** Words out of a few, with commas between them on the command line, in an order that counts. */
export function choices<const Values extends readonly [string, ...string[]]>(
  description: string,
  values: Values,
  words: Words = {},
) {
  const list = z.array(z.enum(values)).min(1)
  const schema = z.union([z.string().min(1).transform(splitNames).pipe(list), list]).optional()
  const expects = `names with commas out of ${values.join(', ')}`
  return declare(schema, { ...choiceFacts(description, values, words), kind: 'list', expects })
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
    facts('list', description, 'NAMES', `${word}, names with commas, or a regular expression between slashes`, words),
  )
}

/** Positive numbers by patterns: an object, or `PATTERN=NUMBER` with commas between them. */
export function numbersByPattern(
  description: string,
  { integers = false, ...words }: Words & { integers?: boolean } = {},
) {
  const number = integers ? z.int().positive() : z.number().positive()
  const numbers = z.record(z.string().min(1).refine(isPattern), number)
  const schema = z.union([numbers, z.string().min(1).transform(parsePatterns).pipe(numbers)]).optional()
  return declare(
    schema,
    facts(
      'list',
      description,
      'PATTERN=N,…',
      `patterns with positive ${integers ? 'whole ' : ''}numbers, as down_proj=16,q_proj=4`,
      words,
    ),
  )
}

/** Paths: one on the command line, of which the last occurrence counts; with `adds`, each occurrence adds one. */
export function texts(description: string, placeholder: string, words: Words & Pick<OptionFacts, 'adds'> = {}) {
  const schema = z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .transform((value) => (typeof value === 'string' ? [value] : value))
    .optional()
  return declare(schema, facts('texts', description, placeholder, 'a path, or a list of paths', words))
}

/** Paths as in `texts`, and what else the library takes in their place: `read` gives undefined of what is neither. */
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

/** A flag that may carry a value: true without, the value with it. */
export function optionalText(description: string, placeholder: string, words: Words = {}) {
  return declare(
    z.union([z.boolean(), z.string().min(1)]).default(false),
    facts('optional-text', description, placeholder, `nothing or a ${placeholder.toLowerCase()}`, words),
  )
}
