/** The options of `generate`, and what they mean. */
import { z } from 'zod'
import {
  aFunction,
  anyText,
  aSignal,
  expecting,
  having,
  listOfTexts,
  optionsSchema,
  wholeFrom,
} from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import type { Message } from '../data/templates/template.js'
import type { AdapterChoice } from '../models/index.js'
import { type GenerateInput, GenerateSchema, type GenerateSettings, parseOptions } from '../options/index.js'
import type { ContinuationRequest } from './continuation.js'
import { aLanguageModel } from './language-model.js'

/** Options of `generate`: those of `mora generate` in camelCase, a conversation, callbacks and a signal. */
export interface GenerateOptions extends GenerateInput {
  /**
   * The adapters of this call, by name or with another factor, whatever is active in the model; `[]` is the model without adapters.
   * Default: those that are active at its beginning.
   */
  adapters?: AdapterChoice
  /** A conversation to continue, instead of `prompt`. */
  messages?: readonly Message[]
  /** Several prompts instead, each for a text of its own: the result is a list, in their order. */
  prompts?: readonly string[]
  /** Texts for each prompt, one after the other in the list of results, with draws of their own. */
  n?: number
  /** The text ends before the first of these. */
  stop?: string | readonly string[]
  /** Called with each piece of text, whole characters only. */
  onText?: (piece: string) => void
  /** Called with each notice for the user. */
  onWarning?: (message: string) => void
  /** Aborting it ends the work before the next token with the signal's reason. */
  signal?: AbortSignal
}

export const generateArguments = {
  model: aLanguageModel,
  call: optionsSchema('the options of generate', {
    messages: expecting('a list of messages', z.array(having('a message', 'role'))).optional(),
    prompts: listOfTexts.optional(),
    n: wholeFrom(1).optional(),
    stop: z.union([anyText, listOfTexts]).optional(),
    onText: aFunction.optional(),
    onWarning: aFunction.optional(),
    signal: aSignal.optional(),
  }),
}

/** The options that only the library has. */
export type GenerateExtras = Omit<GenerateOptions, keyof GenerateInput | 'signal'>

/** Fills in defaults. */
export function splitCall(call: Omit<GenerateOptions, 'signal'>): {
  options: GenerateSettings
  extras: GenerateExtras
} {
  const { adapters, messages, prompts, n, stop, onText, onWarning, ...given } = call
  const options = parseOptions(GenerateSchema, given, { source: 'api' })
  const { system, tools, templateOptions } = options
  if (options.raw && [system, messages, tools, templateOptions].some((value) => value !== undefined)) {
    throw new UsageError(
      'unfit-options',
      'raw cannot be combined with system, messages, tools or templateOptions: they need a template.',
    )
  }
  return { options, extras: { adapters, messages, prompts, n, stop, onText, onWarning } }
}

export function limitsOf(
  { maxNewTokens, temperature, topK, topP }: GenerateSettings,
  { stop = [] }: GenerateExtras,
): Pick<ContinuationRequest, 'maxNewTokens' | 'sampling' | 'stopStrings'> {
  const stopStrings = [stop].flat().filter((text) => text !== '')
  return { maxNewTokens, sampling: { temperature, topK, topP }, stopStrings }
}
