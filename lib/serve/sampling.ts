/** Parameters that completions and chats share. */
import { randomInt } from 'node:crypto'
import { z } from 'zod'
import type { LanguageModel } from '../generate/index.js'
import { JSON_SPACINGS } from '../options/index.js'
import {
  eitherOf,
  flagField,
  numberField,
  objectField,
  someTextField,
  textField,
  type Unsupported,
  wholeField,
  wordField,
  wrongField,
} from './fields.js'
import type { TextCall } from './text-writer.js'

/** The most stop strings of a request. */
const STOPS = 16
/** The most texts of one prompt. */
const MOST_TEXTS = 128

const constraint = 'an object with one of json, regex, choice and grammar'

/** Names are OpenAI's, or vLLM's where OpenAI has none. */
export const samplingFields = {
  model: textField().optional(),
  n: wholeField(1, MOST_TEXTS).default(1),
  stream: flagField.default(false),
  stream_options: z.looseObject({ include_usage: flagField.optional() }, { error: 'an object' }).optional(),
  temperature: numberField(0, 2).default(1),
  top_p: numberField(0, 1).default(1),
  top_k: wholeField(-1).default(0),
  min_p: numberField(0, 1).default(0),
  typical_p: numberField(0, 1).default(1),
  presence_penalty: numberField(-2, 2).default(0),
  frequency_penalty: numberField(-2, 2).default(0),
  repetition_penalty: numberField(0.01, 10).default(1),
  logit_bias: z
    .record(z.string().regex(/^(0|[1-9]\d{0,9})$/), numberField(-100, 100), {
      error: 'an object of numbers from -100 to 100 by token ids',
    })
    .optional(),
  min_tokens: wholeField(0).default(0),
  seed: wholeField(0).optional(),
  stop: eitherOf(`a non-empty text or a list of at most ${STOPS}`, [
    someTextField,
    z.array(someTextField).max(STOPS),
  ]).default([]),
  structured_outputs: z
    .strictObject(
      {
        json: eitherOf('a JSON schema', [objectField, z.boolean()]).optional(),
        regex: textField().optional(),
        choice: z.array(textField(), { error: 'a list of texts' }).min(1, { error: 'a list of texts' }).optional(),
        grammar: textField().optional(),
      },
      { error: constraint },
    )
    .refine((given) => Object.keys(given).length === 1, { error: constraint })
    .optional(),
  json_spacing: wordField(JSON_SPACINGS).default('either'),
}

/** Parameters of others that would change the text. */
export const unsupportedSampling: Readonly<Record<string, Unsupported>> = {
  stop_token_ids: { neutral: [[]], instead: 'give the tokens’ texts as stop' },
  guided_json: { instead: 'use structured_outputs or response_format' },
  guided_regex: { instead: 'use structured_outputs' },
  guided_choice: { instead: 'use structured_outputs' },
  guided_grammar: { instead: 'use structured_outputs' },
}

const SamplingSchema = z.object(samplingFields)
type SamplingBody = z.output<typeof SamplingSchema>

/** Returns what of a request decides how tokens are chosen. */
export function samplingOf(body: SamplingBody, { config }: Pick<LanguageModel, 'config'>) {
  const { logit_bias: logitBias, structured_outputs: constrained } = body
  const unknown = Object.keys(logitBias ?? {}).find((id) => Number(id) >= config.vocabularySize)
  if (unknown !== undefined) {
    throw wrongField(
      'logit_bias',
      `Expected token ids below ${config.vocabularySize} in logit_bias but received ${unknown}.`,
    )
  }
  return {
    minNewTokens: body.min_tokens,
    temperature: body.temperature,
    topK: Math.max(0, body.top_k),
    // OpenAI's 0 leaves the likeliest token alone.
    topP: Math.max(Number.EPSILON, body.top_p),
    minP: body.min_p,
    typicalP: Math.max(Number.EPSILON, body.typical_p),
    repetitionPenalty: body.repetition_penalty,
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    logitBias,
    stop: [body.stop].flat(),
    seed: body.seed ?? randomInt(2 ** 47),
    jsonSpacing: body.json_spacing,
    ...(constrained && {
      schema: constrained.json,
      regex: constrained.regex,
      choices: constrained.choice,
      grammar: constrained.grammar,
    }),
  } satisfies Partial<TextCall>
}
