/** Turns prompts and conversations into ids. */

import { UsageError } from '../common/errors.js'
import { checkIds } from '../data/encode.js'
import { encodePrompt } from '../data/prompt.js'
import { type ChatTemplate, type Message, resolveTemplate, type TemplateContext } from '../data/templates/template.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { LanguageModel } from './language-model.js'

export interface Prompt extends TemplateContext {
  /** A text, or the ids of one, which are taken as they are. */
  prompt?: string | readonly number[] | undefined
  /** A conversation instead; its last turn is usually the user's. */
  messages?: readonly Message[]
  /** The system message before a prompt. */
  system?: string
}

/** @throws UsageError `no-tokenizer` */
export function requireTokenizer({ tokenizer, path }: Pick<LanguageModel, 'tokenizer' | 'path'>): Tokenizer {
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
  model: LanguageModel,
  template: ChatTemplate | null,
  request: Prompt,
  signal?: AbortSignal,
): Promise<number[]> {
  const { prompt, messages } = request
  if ((prompt === undefined) === (messages === undefined)) {
    throw new UsageError('unfit-options', 'Expected either a prompt or messages to generate from.')
  }
  if (typeof prompt === 'string') requireBytes(prompt, model)
  const ids =
    typeof prompt === 'object'
      ? [...prompt]
      : await encodePrompt(requireTokenizer(model), template, { ...request, prompt }, signal)
  if (ids.length === 0) {
    throw new UsageError('empty-prompt', 'The prompt has no tokens, so there is nothing to continue; enter some text.')
  }
  checkIds(Int32Array.from(ids), model.config.vocabularySize, 'the prompt')
  return ids
}

/** Refuses a text whose tokens, however long they are, are more than the model's positions: encoding it could take minutes. */
function requireBytes(prompt: string, model: LanguageModel): void {
  const { maxPositions } = model.config
  const bytes = Buffer.byteLength(prompt)
  if (bytes <= maxPositions) return
  const { longestToken } = requireTokenizer(model)
  if (bytes <= maxPositions * longestToken) return
  throw new UsageError(
    'prompt-too-long',
    `The prompt has ${bytes} bytes, and the model has ${maxPositions} positions for tokens of at most ${longestToken} bytes each; shorten it.`,
  )
}

/**
 * Returns the template of a prompt: null for `raw` and for a model without one. Warns if an active adapter was trained with
 * another.
 */
export async function promptTemplate(
  model: Pick<LanguageModel, 'tokenizer' | 'path' | 'adapterSet'>,
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
