/** Parameters that completions and chats share. */
import { randomInt } from 'node:crypto'
import { z } from 'zod'
import {
  aFlag,
  anObject,
  anyText,
  aText,
  isObject,
  numberBetween,
  wholeBetween,
  wholeFrom,
} from '../common/arguments.js'
import { fieldOf } from '../common/option-names.js'
import type { GenerateOptions } from '../generate/index.js'
import type { Model } from '../models/index.js'
import { GenerateSchema, JSON_SPACINGS } from '../options/index.js'
import { samplingOptions } from '../options/sampling.js'
import { eitherOf, listField, optionField, shortTextField, wordField, wrongField } from './fields.js'
import { isId, requireIds } from './prompts.js'

/** Maximum number of stop strings. */
const STOPS = 16
/** Maximum number of completions of a prompt. */
const MOST_TEXTS = 128

/** Maximum number of forbidden texts, and length of each. */
const [BAD_WORDS, BAD_WORD] = [512, 1024]
/** Maximum number of token ids of a list. */
const IDS = 2 ** 20
/** Maximum number of choices. */
const CHOICES = 16_384

const constraint = 'an object with one of json, regex, choice and grammar'
const aSchema = eitherOf('a JSON schema', [anObject, z.boolean()])

/** Checked by hand, since zod makes an issue for each entry. */
const isBias = (value: unknown): boolean =>
  isObject(value) &&
  Object.entries(value).every(
    ([id, bias]) => /^(0|[1-9]\d{0,9})$/.test(id) && typeof bias === 'number' && Math.abs(bias) <= 100,
  )

/** Checked by hand, as above; an empty list is none. */
const someIds = z
  .custom<readonly number[]>((value) => Array.isArray(value) && value.length <= IDS && value.every(isId), {
    error: `a list of at most ${IDS} token ids`,
  })
  .transform((ids) => (ids.length > 0 ? ids : undefined))
  .optional()

/** The options of `generate` for sampling, and for the end of a text. */
const samplingSchema = z.object({
  temperature: GenerateSchema.shape.temperature,
  topK: GenerateSchema.shape.topK,
  topP: GenerateSchema.shape.topP,
  stopTokens: GenerateSchema.shape.stopTokens,
  includeStop: GenerateSchema.shape.includeStop,
  ignoreEos: GenerateSchema.shape.ignoreEos,
  allowedTokens: GenerateSchema.shape.allowedTokens,
  ...samplingOptions,
})

/** The options' fields by the names of the parameters. */
const optionFields = Object.fromEntries(
  Object.entries(samplingSchema.shape).map(([name, option]) => [fieldOf(name), optionField(option)]),
)

/** OpenAI's 0 keeps only the likeliest token. */
const shareField = numberBetween(0, 1)
  .transform((share) => Math.max(Number.EPSILON, share))
  .optional()

/** Names are OpenAI's, or vLLM's where OpenAI has none; `json_schema` and `grammar` are llama.cpp's. */
export const samplingFields = {
  ...optionFields,
  // Other ranges and defaults than the option has, and limits of what one request may cost.
  temperature: numberBetween(0, 2).default(1),
  top_p: shareField,
  typical_p: shareField,
  repetition_penalty: numberBetween(0.01, 10).optional(),
  logit_bias: z
    .custom<Record<string, number>>(isBias, { error: 'an object of numbers from -100 to 100 by token ids' })
    .optional(),
  bad_words: listField(shortTextField(BAD_WORD), `a list of at most ${BAD_WORDS} non-empty texts`, {
    most: BAD_WORDS,
  })
    .transform((words) => (words.length > 0 ? words : undefined))
    .optional(),
  stop_token_ids: someIds,
  allowed_token_ids: someIds,
  model: anyText.optional(),
  n: wholeBetween(1, MOST_TEXTS).default(1),
  stream: aFlag.default(false),
  stream_options: z.looseObject({ include_usage: aFlag.optional() }, { error: 'an object' }).optional(),
  /** -1 is none: a default of llama.cpp and LM Studio. */
  seed: wholeFrom(-1).optional(),
  stop: eitherOf(`a non-empty text or a list of at most ${STOPS}`, [
    aText,
    listField(aText, 'a list of stop strings', { most: STOPS }),
  ]).default([]),
  structured_outputs: z
    .strictObject(
      {
        json: aSchema.optional(),
        regex: anyText.optional(),
        choice: listField(anyText, `a list of 1 to ${CHOICES} texts`, { least: 1, most: CHOICES }).optional(),
        grammar: anyText.optional(),
      },
      { error: constraint },
    )
    .refine((given) => Object.keys(given).length === 1, { error: constraint })
    .optional(),
  json_spacing: wordField(JSON_SPACINGS).default('either'),
  json_schema: aSchema.optional(),
  grammar: anyText.optional(),
}

/** @throws ApiError 400 for options of a stream without a stream */
export function requireStream({ stream, stream_options: options }: SamplingBody): void {
  if (options && !stream) throw wrongField('stream_options', 'The parameter stream_options needs stream.')
}

/** A number of new tokens; -1 is as many as there is room for: a default of llama.cpp and LM Studio. */
export const limitField = (least: number) =>
  eitherOf(`a whole number of at least ${least}`, [z.literal(-1), wholeFrom(least)])

/** Returns the maximum number of new tokens of a completion. */
export const limitOf = (given: number | undefined, { config }: Model): number =>
  given === undefined || given === -1 ? config.maxPositions : Math.max(1, given)

const SamplingSchema = z.looseObject(samplingFields)
export type SamplingBody = z.output<typeof SamplingSchema>

/** Returns the options of `generate` for sampling and constraints. */
export function samplingOf(body: SamplingBody, model: Model) {
  const { logit_bias: logitBias, seed = -1 } = body
  requireIds(Object.keys(logitBias ?? {}).map(Number), 'logit_bias', model)
  const options = Object.keys(samplingSchema.shape).map((name) => [name, body[fieldOf(name)]])
  return {
    ...samplingSchema.parse(Object.fromEntries(options)),
    stop: [body.stop].flat(),
    jsonSpacing: body.json_spacing,
    seed: seed === -1 ? randomInt(2 ** 47) : seed,
    ...constraintOf(body),
  } satisfies GenerateOptions
}

/** Returns the names of a request's constraints. */
export const constraintsIn = ({ structured_outputs, json_schema, grammar }: SamplingBody): string[] =>
  Object.entries({ structured_outputs, json_schema, grammar: grammar || undefined }).flatMap(([name, value]) =>
    value === undefined ? [] : [name],
  )

/** @throws ApiError 400 for several constraints */
export function requireOneConstraint(names: readonly string[]): void {
  const [first, second] = names
  if (second) throw wrongField(first!, `The parameters ${first} and ${second} exclude each other.`)
}

function constraintOf(body: SamplingBody): Pick<GenerateOptions, 'schema' | 'regex' | 'choices' | 'grammar'> {
  requireOneConstraint(constraintsIn(body))
  const { json, regex, choice: choices, grammar } = body.structured_outputs ?? {}
  const given = { schema: json ?? body.json_schema, regex, choices, grammar: grammar ?? (body.grammar || undefined) }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}
