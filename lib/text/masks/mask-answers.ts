/** The loss mask of an encoded conversation. */
import { InputError } from '../../common/errors.js'
import type { TokenPlaces } from '../tokenizer/engine.js'
import { type TurnTokens, tokenSpans } from './token-spans.js'
import type { AnswerSpan, Span, TurnCounts } from './turn-texts.js'

/** A conversation as tokens, with its mask. */
export interface MaskedChat extends TurnCounts {
  ids: Int32Array
  /** 1 for each trained token. */
  mask: Uint8Array
  /** The messages, in order; none if they cannot be found. */
  turns: TurnTokens[]
}

/** The token that begins a text, if the model has one. */
export interface BeginningToken {
  bosId?: number
  bosToken?: string
}

/**
 * Returns the tokens of a rendered conversation that are trained.
 * @param spans the spans that the model has to generate
 * @param alone ids of the text of each span that starts inside a token
 * @param addedIds tokens that may end an answer
 * @throws InputError `unmaskable-template`, `double-bos`
 */
export function answerTokens(
  tokens: TokenPlaces,
  spans: readonly AnswerSpan[],
  alone: ReadonlyMap<AnswerSpan, ArrayLike<number>>,
  addedIds: { has(id: number): boolean },
  beginning: BeginningToken,
  where: string,
): Span[] {
  requireOneBos(tokens.ids, beginning, where)
  return tokenSpans(tokens, spans, alone, addedIds, where)
}

/** Returns a mask of some tokens. */
export function maskOf(length: number, trained: readonly Span[]): Uint8Array {
  const mask = new Uint8Array(length)
  for (const { start, end } of trained) mask.fill(1, start, end)
  return mask
}

/** @throws InputError `double-bos` */
export function requireOneBos(ids: ArrayLike<number>, { bosId, bosToken }: BeginningToken, where: string): void {
  if (bosId === undefined || ids[0] !== bosId || ids[1] !== bosId) return
  throw new InputError('double-bos', `${where}: the rendered conversation begins with ${bosToken} twice.`)
}
