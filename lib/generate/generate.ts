import { z } from 'zod'
import {
  aFunction,
  anyText,
  aSignal,
  check,
  expecting,
  having,
  listOfTexts,
  optionsSchema,
} from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { randomStream } from '../common/random.js'
import { resolveTools } from '../data/rows/tools.js'
import type { Message } from '../data/templates/template.js'
import type { AdapterChoice } from '../models/index.js'
import { type GenerateInput, GenerateSchema, type GenerateSettings, parseOptions } from '../options/index.js'
import { type ContinuationRequest, continueText, drain, type GenerateResult } from './continuation.js'
import { aLanguageModel, type LanguageModel, withAdaptersOf } from './language-model.js'
import { promptTemplate, promptTokens } from './prompt.js'
import { PromptCache } from './prompt-cache.js'
import { stopTokens } from './stops.js'

/** Options of `generate`: those of `mora generate` in camelCase, a conversation, callbacks and a signal. */
export interface GenerateOptions extends GenerateInput {
  /**
   * The adapters of this call, by name or with another factor, whatever is active in the model; `[]` is the model without adapters.
   * Default: those that are active at its beginning.
   */
  adapters?: AdapterChoice
  /** A conversation to continue, instead of `prompt`. */
  messages?: readonly Message[]
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
    stop: z.union([anyText, listOfTexts]).optional(),
    onText: aFunction.optional(),
    onWarning: aFunction.optional(),
    signal: aSignal.optional(),
  }),
}

/**
 * Generates text after a prompt. With the model's chat template (unless `raw`), the prompt is a user's turn and the text
 * the assistant's answer.
 *
 * ```ts
 * import { generate, loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const { text, finishReason } = await generate(model, { prompt: 'How many legs have 3 cats?', maxNewTokens: 64 })
 * ```
 *
 * @throws UsageError for options that are wrong or do not fit the model, and for prompts that fill its context; the reason of
 * an aborted `signal`
 */
export async function generate(model: LanguageModel, call: GenerateOptions): Promise<GenerateResult> {
  check({ model, call }, generateArguments)
  return drain(generateStream(model, call), call.onText)
}

/**
 * Like `generate`, but yields the text in pieces of whole characters; the generator's return value is the result. To stop
 * early, leave the loop. `onText` is not called.
 *
 * ```ts
 * import { generateStream, loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * for await (const piece of generateStream(model, { prompt: 'Count to ten.', maxNewTokens: 40, temperature: 0.7 })) {
 *   process.stdout.write(piece)
 * }
 * ```
 */
export async function* generateStream(
  model: LanguageModel,
  call: GenerateOptions,
): AsyncGenerator<string, GenerateResult> {
  check({ model, call }, generateArguments)
  const { signal, ...given } = call
  signal?.throwIfAborted()
  const { options, extras } = splitCall(given)
  const adapted = withAdaptersOf(model, extras.adapters)
  const template = await promptTemplate(adapted, options, extras.onWarning)
  const { prompt, system, templateOptions } = options
  const tools = await resolveTools(options.tools)
  const ids = await promptTokens(
    adapted,
    template,
    { prompt, system, messages: extras.messages, tools, templateOptions },
    signal,
  )
  const cache = new PromptCache(adapted)
  try {
    const random = randomStream(options.seed, 'generate')
    const stopIds = await stopTokens(adapted, template)
    return yield* continueText(cache, { ...limitsOf(options, extras), ids, random, stopIds, signal })
  } finally {
    cache.dispose()
  }
}

/** The options that only the library has. */
export type GenerateExtras = Omit<GenerateOptions, keyof GenerateInput | 'signal'>

/** Fills in defaults. */
export function splitCall(call: Omit<GenerateOptions, 'signal'>): {
  options: GenerateSettings
  extras: GenerateExtras
} {
  const { adapters, messages, stop, onText, onWarning, ...given } = call
  const options = parseOptions(GenerateSchema, given, { source: 'api' })
  const { system, tools, templateOptions } = options
  if (options.raw && [system, messages, tools, templateOptions].some((value) => value !== undefined)) {
    throw new UsageError(
      'unfit-options',
      'raw cannot be combined with system, messages, tools or templateOptions: they need a template.',
    )
  }
  return { options, extras: { adapters, messages, stop, onText, onWarning } }
}

export function limitsOf(
  { maxNewTokens, temperature, topK, topP }: GenerateSettings,
  { stop = [] }: GenerateExtras,
): Pick<ContinuationRequest, 'maxNewTokens' | 'sampling' | 'stopStrings'> {
  const stopStrings = [stop].flat().filter((text) => text !== '')
  return { maxNewTokens, sampling: { temperature, topK, topP }, stopStrings }
}
