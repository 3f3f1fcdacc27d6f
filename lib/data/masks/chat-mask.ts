/**
 * The loss mask of a rendered conversation. It covers what the model has to write: each assistant's turn, from the end of the
 * generation prompt to the token that ends the turn.
 */
import { InputError } from '../../common/errors.js'
import type { ChatTemplate, Message, TemplateContext } from '../templates/template.js'
import type { PlacedTokens, Tokenizer } from '../tokenizer/tokenizer.js'
import type { TurnCounts } from './chat-turns.js'
import type { AddedToken } from './token-marks.js'
import { straddledSpans, type TurnTokens, tokenSpans, turnTokens } from './token-spans.js'
import type { AnswerSpan } from './turn-texts.js'

/** The tokens of a rendered conversation. */
export interface MaskedTokens {
  ids: number[]
  /** 1 for each trained token. */
  mask: Uint8Array
}

export interface MaskedChat extends MaskedTokens, TurnCounts {
  /** The messages, in order; none if they cannot be found. */
  turns: TurnTokens[]
}

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
      `${where}: a conversation of ${messages.length} messages is too long to find each answer in, at most ${MOST_MESSAGES} were expected: make several rows of it, or train all of it (the option trainOn: all).`,
    )
  }
  const { text, spans, turns, counts } = await template.answers(
    addedTokens(tokenizer),
    messages,
    context,
    where,
    signal,
  )
  const tokens = await tokenizer.encodeWithPlaces(text, signal)
  const alone = new Map<AnswerSpan, readonly number[]>()
  for (const span of straddledSpans(tokens, spans)) {
    alone.set(span, await tokenizer.encodeContinuation(text.slice(span.start, span.end), signal))
  }
  return { ...maskAnswers(tokens, spans, alone, tokenizer, where), turns: turnTokens(tokens, turns), ...counts }
}

/**
 * @param tokens of the rendered conversation
 * @param alone ids of the text of each span that starts inside a token
 * @throws InputError `unmaskable-template`, `double-bos`
 */
export function maskAnswers(
  tokens: PlacedTokens,
  spans: readonly AnswerSpan[],
  alone: ReadonlyMap<AnswerSpan, readonly number[]>,
  tokenizer: Tokenizer,
  where: string,
): MaskedTokens {
  requireOneBos(tokens.ids, tokenizer, where)
  const mask = new Uint8Array(tokens.ids.length)
  for (const { start, end } of tokenSpans(tokens, spans, alone, tokenizer.addedIds, where)) mask.fill(1, start, end)
  return { ids: tokens.ids, mask }
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

function requireOneBos(ids: readonly number[], { bosId, bosToken }: Tokenizer, where: string): void {
  if (bosId === undefined || ids[0] !== bosId || ids[1] !== bosId) return
  throw new InputError('double-bos', `${where}: the rendered conversation begins with ${bosToken} twice.`)
}
