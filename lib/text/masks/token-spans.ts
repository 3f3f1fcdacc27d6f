/** Converts spans of a rendered conversation from characters to tokens. */
import { InputError, quoted } from '../../common/errors.js'
import type { TokenPlaces } from '../tokenizer/engine.js'
import { waysOut } from './chat-turns.js'
import type { AnswerSpan, Span, TurnSpan } from './turn-texts.js'

/** Maximum number of tokens that may straddle the start of an answer; more of them mean another problem. */
const MAX_STRADDLING_TOKENS = 8

/** Returns the spans that start inside a token. `spans` are in order. */
export function straddledSpans(tokens: TokenPlaces, spans: readonly AnswerSpan[]): AnswerSpan[] {
  let at = 0
  return spans.filter(({ start, isMarked }) => {
    at = firstFrom(tokens, start, at)
    return !isMarked && isStraddled(tokens, start, at)
  })
}

/**
 * Returns the tokens of each span. If a token straddles the start of an answer, the answer has the last tokens that it shares
 * with the encoding of its own text. A marked span has every token that overlaps it.
 * @param spans in order
 * @param alone ids of the text of each straddled span
 * @param addedIds tokens that may end an answer
 * @param where names the row in errors
 * @throws InputError `unmaskable-template` if the answer's tokens are not found, or the last one is not an added token
 */
export function tokenSpans(
  tokens: TokenPlaces,
  spans: readonly AnswerSpan[],
  alone: ReadonlyMap<AnswerSpan, ArrayLike<number>>,
  addedIds: { has(id: number): boolean },
  where: string,
): Span[] {
  const { ids } = tokens
  let at = 0
  return spans.map((span) => {
    const { start, end, isOpen, isMarked, token } = span
    at = firstFrom(tokens, start, at)
    const straddling = isStraddled(tokens, start, at) ? at - 1 : at
    if (isMarked) {
      at = firstFrom(tokens, end, at)
      return { start: straddling, end: at }
    }
    at = firstWhere(tokens, at, end, (token) => tokens.endOf(token) > end)
    const isCut = at < ids.length && tokens.startOf(at) < end
    const first = straddling < at && alone.has(span) ? at - sharedEnd(ids, at, alone.get(span)!) : straddling
    const isFound = !isCut && first >= straddling && first - straddling <= MAX_STRADDLING_TOKENS
    const isEnded = isOpen || addedIds.has(ids[at - 1]!)
    if (at > first && isFound && isEnded) return { start: first, end: at }
    if (!isEnded && !isCut && token !== undefined) {
      throw new InputError(
        'unmaskable-template',
        `${where}: the tokenizer does not find ${quoted(token)}, which ends an assistant's turn, behind the text before it; if tokenizer.json has "normalized": true for it, as old Llama tokenizers do, set that to false, or ${waysOut()}.`,
      )
    }
    throw new InputError(
      'unmaskable-template',
      `${where}: the tokens of an assistant's turn cannot be distinguished from those around them; ${waysOut()}.`,
    )
  })
}

/** A turn in tokens: its header from `start`, its content, and its end. */
export interface TurnTokens extends TurnSpan {
  /** Whether no token has text both of this turn and of the text before it. */
  isApart: boolean
}

/** Returns the tokens of turns. `turns` are in order. */
export function turnTokens(tokens: TokenPlaces, turns: readonly TurnSpan[]): TurnTokens[] {
  let at = 0
  return turns.map(({ role, start, content, end }) => {
    const first = firstFrom(tokens, start, at)
    at = firstFrom(tokens, end, first)
    const contentAt = firstFrom(tokens, content, first)
    const straddling = content < end && isStraddled(tokens, content, contentAt) ? 1 : 0
    return {
      role,
      start: first,
      content: Math.max(first, contentAt - straddling),
      end: at,
      isApart: !isStraddled(tokens, start, first),
    }
  })
}

/** Returns the first token, not before `from`, that starts at a place or after it. */
function firstFrom(tokens: TokenPlaces, place: number, from: number): number {
  return firstWhere(tokens, from, place, (token) => tokens.startOf(token) >= place)
}

/**
 * Returns the first token from `from` on for which a condition about a place holds. The condition holds for all later tokens
 * too.
 */
function firstWhere(tokens: TokenPlaces, from: number, place: number, holds: (token: number) => boolean): number {
  let [low, high] = [from, tokens.ids.length]
  const near = tokens.near?.(place) ?? -1
  if (low <= near && near < high) {
    // The first one is close to it, as a rule.
    if (!holds(near)) low = near + 1
    else if (near === low || !holds(near - 1)) return near
    else high = near - 1
    if (low < high && holds(low)) return low
  }
  while (low < high) {
    const middle = (low + high) >> 1
    if (holds(middle)) high = middle
    else low = middle + 1
  }
  return low
}

function isStraddled(tokens: TokenPlaces, place: number, firstBehind: number): boolean {
  return firstBehind > 0 && tokens.endOf(firstBehind - 1) > place
}

/** Counts the tokens before `end` that are also the last ones of `others`. */
function sharedEnd(ids: ArrayLike<number>, end: number, others: ArrayLike<number>): number {
  let shared = 0
  while (shared < others.length && shared < end && ids[end - 1 - shared] === others[others.length - 1 - shared])
    shared++
  return shared
}
