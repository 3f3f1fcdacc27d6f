/**
 * The loss mask of a rendered conversation. It covers the text that the model has to generate: each assistant's turn, from the
 * end of the generation prompt to the token that ends the turn.
 */
import { InputError } from '../common/errors.js'
import { theOption } from '../common/option-names.js'
import { type MaskedChat, requireOneBos } from './masks/mask-answers.js'
import type { ChatTemplate, Message, TemplateContext } from './template.js'
import type { Tokenizer } from './tokenizer.js'

export type { MaskedChat } from './masks/mask-answers.js'

/** The time to find answers grows with the square of their number, since each needs the text of all messages before it. */
const MOST_MESSAGES = 1024

/**
 * @param where names the row in errors
 * @throws InputError `template-failed`, `unmaskable-template`, `double-bos`, `no-end-of-turn`
 */
export async function maskChat(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly Message[],
  where: string,
  context: TemplateContext = {},
  signal?: AbortSignal,
): Promise<MaskedChat> {
  if (messages.length > MOST_MESSAGES) {
    throw new InputError(
      'unmaskable-template',
      `${where}: a conversation of ${messages.length} messages is too long to find each answer in, at most ${MOST_MESSAGES} were expected: make several rows of it, or train all of it (${theOption('trainOn', 'all')}).`,
    )
  }
  return tokenizer.encodeAnswers(template, { messages, context, where }, signal)
}

/** @throws InputError `double-bos` */
export async function encodeChat(
  tokenizer: Tokenizer,
  text: string,
  where: string,
  signal?: AbortSignal,
): Promise<number[]> {
  const ids = await tokenizer.encode(text, signal)
  requireOneBos(ids, tokenizer, where)
  return ids
}
