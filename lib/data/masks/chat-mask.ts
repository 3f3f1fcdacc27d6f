/**
 * Which tokens of a rendered conversation are trained: what the model has to write of each assistant's turn, from where the
 * generation prompt ends to the token that ends the turn.
 */
import { InputError } from '../../common/errors.js'
import type { ChatTemplate, Message, TemplateContext } from '../templates/template.js'
import type { Tokenizer } from '../tokenizer/tokenizer.js'
import type { ChatAnswers, TurnCounts } from './chat-turns.js'
import type { AddedToken } from './token-marks.js'
import { tokenSpans } from './token-spans.js'

export interface MaskedChat extends TurnCounts {
  ids: number[]
  /** 1 for each trained token. */
  mask: Uint8Array
}

/** Each answer is found by what the template makes of all messages before it: four times as many take sixteen times as long. */
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
      `${where}: a conversation of ${messages.length} messages is too long to find each answer in, at most ${MOST_MESSAGES} were expected: make several rows of it, or train all of it (the option trainOn: all).`,
    )
  }
  const answers = await template.answers(addedTokens(tokenizer), messages, context, where, signal)
  return maskAnswers(tokenizer, answers, where)
}

/** @throws InputError `unmaskable-template`, `double-bos` */
export function maskAnswers(tokenizer: Tokenizer, { text, spans, counts }: ChatAnswers, where: string): MaskedChat {
  const ids = encodeChat(tokenizer, text, where)
  const mask = new Uint8Array(ids.length)
  for (const span of tokenSpans(text, ids, spans, tokenizer, where)) mask.fill(1, span.start, span.end)
  return { ids, mask, ...counts }
}

const tokensOfTokenizers = new WeakMap<Tokenizer, readonly AddedToken[]>()

/** Returns the same list for the same tokenizer. */
export function addedTokens(tokenizer: Tokenizer): readonly AddedToken[] {
  const known = tokensOfTokenizers.get(tokenizer)
  if (known) return known
  const { addedIds, specialIds } = tokenizer
  const tokens = [...addedIds].map((id) => ({ text: tokenizer.tokenOf(id)!, isSpecial: specialIds.has(id) }))
  tokensOfTokenizers.set(tokenizer, tokens)
  return tokens
}

/** @throws InputError `double-bos` */
export function encodeChat(tokenizer: Tokenizer, text: string, where: string): number[] {
  const ids = tokenizer.encode(text)
  if (tokenizer.bosId !== undefined && ids[0] === tokenizer.bosId && ids[1] === tokenizer.bosId) {
    throw new InputError('double-bos', `${where}: the rendered conversation begins with ${tokenizer.bosToken} twice.`)
  }
  return ids
}
