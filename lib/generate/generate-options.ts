/** The options of `generate`, and what they mean. */
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import {
  aFlag,
  aFunction,
  anyText,
  aSignal,
  custom,
  expecting,
  having,
  isObject,
  optionsSchema,
  wholes,
} from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { optionName, theOption } from '../common/option-names.js'
import { badWordTokens, type EditOptions } from '../engine/index.js'
import type { AdapterChoice } from '../models/index.js'
import { type GenerateInput, GenerateSchema, type GenerateSettings, parseOptions } from '../options/index.js'
import type { samplingOptions } from '../options/sampling.js'
import type { Message } from '../text/template.js'
import type { Tokenizer } from '../text/tokenizer.js'
import type { TextRequest } from './continuation.js'

/** Options of `generate`: those of `mora generate` in camelCase, a conversation, callbacks and a signal. */
export interface GenerateOptions extends Omit<GenerateInput, 'prompt'> {
  /**
   * The adapters of this call, by name or with another factor, whatever is active in the model; `[]` is the model without adapters.
   * Default: the adapters that are active at its beginning.
   */
  adapters?: AdapterChoice
  /** A conversation to continue, instead of `prompt`. */
  messages?: readonly Message[]
  /** The text to continue or answer, or the ids of its tokens, which are continued as they are. */
  prompt?: string | readonly number[]
  /** Several prompts instead, each for a text of its own: the result is a list, in their order. */
  prompts?: readonly (string | readonly number[])[]
  /**
   * Whether the answer is read by the form of its template: `text` is then the content, beside `reasoning` and `toolCalls`. Default: if
   * there are `tools`.
   */
  parse?: boolean
  /** Called with each piece of text, whole characters only. */
  onText?: (piece: string) => void
  /** Called with each notice for the user. */
  onWarning?: (message: string) => void
  /** Aborting it ends the work before the next token with the signal's reason. */
  signal?: AbortSignal
}

const aPrompt = z.union([anyText, wholes])

/** Whether a value has a role, and what it says is read by every template: text, or parts of text and reasoning. */
function isMessage(value: unknown): boolean {
  if (!isObject(value) || !('role' in value)) return false
  const { content = null } = value
  if (content === null || typeof content === 'string') return true
  const isPart = (part: unknown) =>
    isObject(part) && typeof part[part.type === 'thinking' ? 'thinking' : 'text'] === 'string'
  return Array.isArray(content) && content.every(isPart)
}

/** Schema of arguments that must be a model. */
export const aModel = having('a model (loadModel gives one)', 'createMemory', 'withAdapters')

export const generateArguments = {
  model: aModel,
  call: optionsSchema('the options of generate', {
    messages: expecting(
      'a list of messages, each with a role and texts as content',
      z.array(custom('a message', isMessage)),
    ).optional(),
    prompt: aPrompt.optional(),
    prompts: expecting('a list of prompts that is not empty', z.array(aPrompt).min(1)).optional(),
    parse: aFlag.optional(),
    onText: aFunction.optional(),
    onWarning: aFunction.optional(),
    signal: aSignal.optional(),
  }),
}

/** The options that only the library has. */
type GenerateExtras = Omit<GenerateOptions, Exclude<keyof GenerateInput, 'prompt'> | 'signal'>

/** Fills in defaults. A prompt of ids is one of the extras. */
export function splitCall(call: Omit<GenerateOptions, 'signal'>): {
  options: GenerateSettings
  extras: GenerateExtras
} {
  const { adapters, messages, prompt, prompts, parse, onText, onWarning, ...given } = call
  const text = typeof prompt === 'string' ? { prompt } : {}
  const options = parseOptions(GenerateSchema, { ...given, ...text })
  const { system, tools, templateOptions } = options
  const plain = options.raw ? 'raw' : typeof prompt === 'object' ? 'A prompt of ids' : undefined
  if (plain && [system, messages, tools, templateOptions].some((value) => value !== undefined)) {
    throw new UsageError(
      'unfit-options',
      `${plain} cannot be combined with system, messages, tools or ${optionName('templateOptions')}: they need a template.`,
    )
  }
  return { options, extras: { adapters, messages, prompt, prompts, parse, onText, onWarning } }
}

/** What says how a text is written. */
type WritingSettings = Pick<
  GenerateSettings,
  | ('maxNewTokens' | 'temperature' | 'topK' | 'topP' | 'stop' | 'logprobs' | 'topLogprobs')
  | keyof typeof samplingOptions
>

/**
 * Returns how tokens are chosen, and where the text ends.
 * @throws UsageError `unfit-options` for more tokens at least than at most
 */
export async function limitsOf(
  options: WritingSettings,
  tokenizer: Tokenizer | null,
): Promise<Pick<TextRequest, 'maxNewTokens' | 'sampling' | 'edits' | 'topLogprobs' | 'stopStrings'>> {
  const { maxNewTokens, temperature, topK, topP, minP, typicalP, topNSigma, logprobs, topLogprobs } = options
  const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias, noRepeatNgram, minNewTokens } = options
  if (minNewTokens > maxNewTokens) {
    throw new UsageError(
      'unfit-options',
      `Expected ${theOption('minNewTokens')} to be at most ${optionName('maxNewTokens')}, which is ${maxNewTokens}, but received ${minNewTokens}.`,
    )
  }
  const badWords = tokenizer ? await badWordTokens(tokenizer, options.badWords ?? []) : []
  const edits = { repetitionPenalty, presencePenalty, frequencyPenalty, noRepeatNgram, minNewTokens, badWords }
  const changes = { ...edits, ...(logitBias && { logitBias }) }
  return {
    maxNewTokens,
    sampling: { temperature, topK, topP, minP, typicalP, topNSigma },
    edits: isDeepStrictEqual(changes, NO_EDITS) ? undefined : changes,
    topLogprobs: logprobs || topLogprobs > 0 ? topLogprobs : undefined,
    stopStrings: options.stop,
  }
}

const NO_EDITS: EditOptions = {
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  noRepeatNgram: 0,
  minNewTokens: 0,
  badWords: [],
}
