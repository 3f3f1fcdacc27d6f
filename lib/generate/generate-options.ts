/** Options of `generate`, and their translation for the engine. */
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
import type { GenerateResult, TextRequest } from './continuation.js'

/** A prompt that the engine has begun with. */
export type BegunPrompt = Required<Pick<GenerateResult, 'promptTokens' | 'cachedTokens'>>

/** Options of `generate`: the options of `mora generate` in camelCase, a conversation, callbacks and a signal. */
export interface GenerateOptions extends Omit<GenerateInput, 'prompt'> {
  /**
   * Adapters of this call, by name, optionally with a scale, whatever is active in the model; `[]`: none. Default: the adapters that are
   * active when the call begins.
   */
  adapters?: AdapterChoice
  /** A conversation to continue, instead of `prompt`. */
  messages?: readonly Message[]
  /** Whether the last of `messages`, the assistant's, is continued: the text is what is added to it. Default: false. */
  continueFinalMessage?: boolean
  /** Whether the prompt ends with the beginning of an assistant's turn. Default: unless `continueFinalMessage`. */
  addGenerationPrompt?: boolean
  /** The text to continue or answer, or token ids, which are continued as they are. */
  prompt?: string | readonly number[]
  /** Several prompts instead: the result is a list of their texts, in their order. */
  prompts?: readonly (string | readonly number[])[]
  /**
   * Whether the answer is parsed by the form of its template: `text` is then the content, beside `reasoning` and `toolCalls`. Default:
   * whether there are `tools`.
   */
  parse?: boolean
  /** Called with each piece of text, whole characters only. */
  onText?: (piece: string) => void
  /**
   * Called when the engine begins with the prompt: with the number of its tokens, chat template included, and of those among them whose keys
   * and values came from the prefix cache.
   */
  onBegin?: (prompt: BegunPrompt) => void
  /** Called with each warning. */
  onWarning?: (message: string) => void
  /** Aborting it ends the call before the next token, with the signal's reason. */
  signal?: AbortSignal
}

const aPrompt = z.union([anyText, wholes])

/** Whether a value is a message with content that every template can render: text, or parts of text and reasoning. */
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
    continueFinalMessage: aFlag.optional(),
    addGenerationPrompt: aFlag.optional(),
    prompt: aPrompt.optional(),
    prompts: expecting('a list of prompts that is not empty', z.array(aPrompt).min(1)).optional(),
    parse: aFlag.optional(),
    onText: aFunction.optional(),
    onBegin: aFunction.optional(),
    onWarning: aFunction.optional(),
    signal: aSignal.optional(),
  }),
}

/** The options that only the library has. */
type GenerateExtras = Omit<GenerateOptions, Exclude<keyof GenerateInput, 'prompt'> | 'signal'>

/** Fills in defaults, and separates the options that only the library has; a prompt of ids is one of them. */
export function splitCall(call: Omit<GenerateOptions, 'signal'>): {
  options: GenerateSettings
  extras: GenerateExtras
} {
  const { adapters, messages, continueFinalMessage, addGenerationPrompt, prompt, prompts, ...others } = call
  const { parse, onText, onBegin, onWarning, ...rest } = others
  const text = typeof prompt === 'string' ? { prompt } : {}
  const options = parseOptions(GenerateSchema, { ...rest, ...text })
  const { system, tools, templateOptions } = options
  const plain = options.raw ? 'raw' : typeof prompt === 'object' ? 'A prompt of ids' : undefined
  if (plain && [system, messages, tools, templateOptions].some((value) => value !== undefined)) {
    throw new UsageError(
      'unfit-options',
      `${plain} cannot be combined with system, messages, tools or ${optionName('templateOptions')}: they need a template.`,
    )
  }
  const conversation = { messages, continueFinalMessage, addGenerationPrompt }
  return { options, extras: { adapters, ...conversation, prompt, prompts, parse, onText, onBegin, onWarning } }
}

/** Settings of sampling, and of the end of a text. */
type WritingSettings = Pick<
  GenerateSettings,
  | ('maxNewTokens' | 'temperature' | 'topK' | 'topP' | 'stop' | 'logprobs' | 'topLogprobs')
  | keyof typeof samplingOptions
>

/**
 * Returns how tokens are sampled, and where the text ends.
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
      { option: 'minNewTokens' },
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
