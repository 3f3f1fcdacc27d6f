/** Options of `mora generate` and `generate()`. */
import { z } from 'zod'
import { flag, integer, real, text, textsOr } from '../schema/option.js'
import { commandLineOnly, declare, type LibraryInput } from '../schema/option-facts.js'
import {
  commonOptionsOfLoaded,
  contextOptions,
  loadedForm,
  loadedOptions,
  rowOptions,
  whereDecodingIsNotSlower,
  withoutHub,
} from './common.js'
import { constraintOptions } from './constraint.js'
import { samplingOptions } from './sampling.js'

const someText = z.string().min(1)

/** Token ids; on the command line, each occurrence adds one. */
const tokenIds = (description: string) =>
  textsOr<number | readonly number[], readonly number[]>(description, 'ID', readTokenIds, {
    expects: 'a token id',
    adds: true,
    library: { expects: 'a token id, or a list of them' },
  })

function readTokenIds(value: unknown): number[] | undefined {
  const ids = [value].flat().map((id) => (typeof id === 'string' && /^\d+$/.test(id) ? Number(id) : id))
  return ids.length > 0 && ids.every((id) => Number.isSafeInteger(id) && (id as number) >= 0)
    ? (ids as number[])
    : undefined
}

export const GenerateSchema = z.strictObject({
  ...loadedOptions,
  ...loadedForm(whereDecodingIsNotSlower),
  prompt: text('text to continue or answer; without it, a terminal starts a chat', 'P', {
    expects: 'a non-empty text',
    library: { description: 'text to continue or answer' },
  }),
  prompts: commandLineOnly(
    text(
      'a file of prompts: rows with prompt, messages or input_ids, or lists of token ids; writes a line of JSON for each, in order',
      'FILE.jsonl',
      {
        expects: 'the path of a file',
      },
    ),
  ),
  stop: declare(z.union([someText.transform((one) => [one]), z.array(someText)]).default([]), {
    kind: 'texts',
    description: 'a text that ends the completion; it is not returned',
    placeholder: 'TEXT',
    expects: 'a non-empty text, or a list of them',
    adds: true,
  }),
  stopTokens: tokenIds('the id of a token that ends the completion, beside the tokens that end texts anyway'),
  includeStop: flag('return the stop string or token too'),
  ignoreEos: flag('go on after tokens that end texts'),
  allowedTokens: tokenIds('the id of a token that may be generated; by default, all may'),
  system: text('the system message of the chat template', 'TEXT', { expects: 'a non-empty text' }),
  raw: flag('use no template: continue the prompt unchanged'),
  template: rowOptions.template,
  ...contextOptions,
  maxNewTokens: integer('maximum number of tokens to generate', 256, { min: 1 }),
  temperature: real('divisor of the logits; 0 is greedy', 0, { min: 0 }),
  topP: real('keep the likeliest tokens whose probabilities add up to this (nucleus sampling)', 1, {
    above: 0,
    max: 1,
  }),
  topK: integer('keep the K likeliest tokens; 0 keeps all', 0, { min: 0 }),
  ...samplingOptions,
  ...constraintOptions,
  n: integer('completions per prompt, sampled independently', 1, { min: 1, max: 1024 }),
  logprobs: flag('return the log-probability of each new token, before sampling options change it'),
  promptLogprobs: flag('also return the log-probabilities of the prompt'),
  topLogprobs: integer('list the K likeliest tokens beside each new one; implies logprobs', 0, { min: 0, max: 20 }),
  ...commonOptionsOfLoaded,
  ...withoutHub,
})

export type GenerateSettings = z.output<typeof GenerateSchema>

/** Options of `mora chat`: the options of `mora generate` that hold for a whole conversation. */
export const ChatSchema = GenerateSchema.omit({ prompt: true, prompts: true, raw: true, n: true, promptLogprobs: true })

/** The options of `mora generate`, as the library takes them. */
export type GenerateInput = LibraryInput<typeof GenerateSchema>
