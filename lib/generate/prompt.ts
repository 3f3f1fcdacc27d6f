/** Turns prompts and conversations into ids. */

import { checkIds } from '../batches/examples/encode.js'
import { UsageError } from '../common/errors.js'
import { TheOption, theOption } from '../common/option-names.js'
import type { LoadedModel } from '../models/index.js'
import { encodePrompt } from '../text/prompt.js'
import {
  type ChatTemplate,
  type Message,
  requireNothingForTemplate,
  resolveTemplate,
  type TemplateContext,
} from '../text/template.js'
import type { Tokenizer } from '../text/tokenizer.js'

interface Prompt extends TemplateContext {
  /** A text, or token ids, which are used as they are. */
  prompt?: string | readonly number[] | undefined
  /** A conversation instead; its last turn is usually the user's. */
  messages?: readonly Message[]
  /** The system message before a prompt. */
  system?: string
  /** Whether the last of the messages is continued. */
  continueFinalMessage?: boolean | undefined
  /** Whether an assistant's turn begins at the end. */
  addGenerationPrompt?: boolean | undefined
}

/** @throws UsageError `no-tokenizer` */
export function requireTokenizer({ tokenizer, path }: Pick<LoadedModel, 'tokenizer' | 'path'>): Tokenizer {
  if (tokenizer) return tokenizer
  throw new UsageError(
    'no-tokenizer',
    `The model${path ? ` ${path}` : ''} has no tokenizer, so it can neither read nor write text; put tokenizer.json beside it.`,
  )
}

/**
 * Returns the ids of a prompt. With a template it is a user's turn, and the ids end where the assistant's turn begins. Without
 * one it is used as it is, with BOS by the tokenizer's own rule. Ids are used as they are.
 *
 * @throws UsageError for options that do not fit together
 */
export async function promptTokens(
  model: LoadedModel,
  template: ChatTemplate | null,
  request: Prompt,
  signal?: AbortSignal,
): Promise<number[]> {
  const { prompt, messages } = request
  if ((prompt === undefined) === (messages === undefined)) {
    throw new UsageError('unfit-options', 'Expected either a prompt or messages to generate from.')
  }
  requireContinuable(request)
  if (typeof prompt === 'string') {
    if (!template) requireNothingForTemplate(request)
    const why = whyNoRoom([prompt], model)
    if (why !== null) throw new UsageError('prompt-too-long', why)
  }
  const ids =
    typeof prompt === 'object'
      ? [...prompt]
      : await encodePrompt(requireTokenizer(model), template, { ...request, prompt }, signal)
  if (ids.length === 0) {
    const advice = typeof prompt === 'object' ? 'give the id of one at least' : 'enter some text'
    throw new UsageError('empty-prompt', `The prompt has no tokens, so there is nothing to continue; ${advice}.`)
  }
  checkIds(Int32Array.from(ids), model.config.vocabularySize, 'the prompt')
  return ids
}

/** @throws UsageError `unfit-options` for options of the end of a conversation that do not fit it */
function requireContinuable({ messages, continueFinalMessage, addGenerationPrompt }: Prompt): void {
  const refused = (sentence: string, option: string) => new UsageError('unfit-options', sentence, { option })
  if (!messages && (continueFinalMessage !== undefined || addGenerationPrompt !== undefined)) {
    const option = continueFinalMessage === undefined ? 'addGenerationPrompt' : 'continueFinalMessage'
    throw refused(`${TheOption(option)} needs messages.`, option)
  }
  if (!continueFinalMessage) return
  const option = 'continueFinalMessage'
  if (addGenerationPrompt) {
    const sentence = `${TheOption(option)} excludes ${theOption('addGenerationPrompt')}: an answer either continues a message or begins one.`
    throw refused(sentence, option)
  }
  const { role, content, tool_calls: calls } = messages!.at(-1) ?? { role: 'none' }
  const isText = typeof content === 'string' || content?.some(({ type }) => type === 'text')
  if (role === 'assistant' && isText && !(Array.isArray(calls) && calls.length > 0)) return
  const received =
    role !== 'assistant' ? `a message of the role ${role}` : isText ? 'one with calls' : 'one without a text'
  throw refused(
    `${TheOption(option)} needs a last message of the assistant that has a text and no calls, but received ${received}.`,
    option,
  )
}

/**
 * Returns why texts and ids in a row exceed the model's positions, even if each token is the longest of the tokenizer; null if they may
 * fit. It is called before texts are encoded, which could take minutes.
 */
export function whyNoRoom(
  texts: readonly (string | readonly number[])[],
  { config: { maxPositions }, tokenizer }: Pick<LoadedModel, 'config' | 'tokenizer'>,
): string | null {
  const longest = tokenizer?.longestToken ?? 1
  const bytes = texts.reduce((sum, text) => sum + (typeof text === 'string' ? Buffer.byteLength(text) : 0), 0)
  const ids = texts.reduce((sum, text) => sum + (typeof text === 'string' ? 0 : text.length), 0)
  const least = ids + Math.ceil(bytes / longest)
  if (least <= maxPositions) return null
  return `The text has at least ${least} tokens, and the model reads at most ${maxPositions}; shorten it.`
}

/**
 * Returns the template of a prompt: null for `raw` and for a model without one. Warns if an active adapter was trained with
 * another.
 */
export async function promptTemplate(
  model: Pick<LoadedModel, 'tokenizer' | 'path' | 'adapterSet'>,
  { template, raw = false }: { template: string; raw?: boolean },
  onWarning: (message: string) => void = () => {},
): Promise<ChatTemplate | null> {
  if (raw) return null
  const resolved = await resolveTemplate(template, requireTokenizer(model))
  for (const name of model.adapterSet.activeNames()) {
    const { templateHash } = model.adapterSet.provenance(name)
    if (templateHash === undefined || templateHash === resolved?.hash) continue
    onWarning(
      `The adapter ${name} was trained with ${resolved ? 'another chat template than the one' : 'a chat template, and none is'} in use, so its answers may be worse; name the template it was trained with.`,
    )
  }
  return resolved
}
