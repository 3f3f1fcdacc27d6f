/** Spans of a rendered conversation, in characters, as spans of its tokens. */
import { InputError } from '../../common/errors.js'
import type { Tokenizer } from '../tokenizer/tokenizer.js'
import { WAYS_OUT } from './chat-turns.js'
import type { AnswerSpan, Span } from './turn-texts.js'

/** A token may straddle the start of an answer; more than this many means that something else went wrong. */
const MAX_STRADDLING_TOKENS = 8

/** Spans of characters as spans of tokens. The pieces between them, encoded on their own, must give the same ids. */
export function tokenSpans(
  text: string,
  ids: readonly number[],
  spans: readonly AnswerSpan[],
  tokenizer: Tokenizer,
  where: string,
): Span[] {
  const cuts = spans.flatMap(({ start, end }) => [start, end])
  const places: number[] = []
  let position = 0
  let previous = 0
  for (const cut of cuts) {
    const piece = text.slice(previous, cut)
    const agrees = (pieceIds: number[]) => pieceIds.every((id, i) => ids[position + i] === id)
    let agreed: number[] | undefined = tokenizer.encodeContinuation(piece)
    // After a special token some tokenizers begin anew, others go on.
    if (!agrees(agreed)) agreed = [tokenizer.encode(piece)].find(agrees)
    if (!agreed) return searchedSpans(text, ids, spans, tokenizer, where)
    position += agreed.length
    places.push(position)
    previous = cut
  }
  const found = spans.map((_, i) => ({ start: places[2 * i]!, end: places[2 * i + 1]! }))
  return checkedEnds(found, spans, ids, tokenizer, where)
}

/** Where a token straddles the start of an answer: the answer's tokens are those after it. */
function searchedSpans(
  text: string,
  ids: readonly number[],
  spans: readonly AnswerSpan[],
  tokenizer: Tokenizer,
  where: string,
): Span[] {
  const found = spans.map(({ start, end }) => {
    const before = tokenizer.encode(text.slice(0, start))
    const agreed = before.findIndex((id, i) => ids[i] !== id)
    const upToEnd = tokenizer.encode(text.slice(0, end))
    if (upToEnd.some((id, i) => ids[i] !== id)) throw unmaskableTokens(where)
    if (agreed < 0) return { start: before.length, end: upToEnd.length }
    const answer = tokenizer.encodeContinuation(text.slice(start, end))
    let shared = 0
    while (shared < answer.length && answer.at(-1 - shared) === upToEnd.at(-1 - shared)) shared++
    const first = upToEnd.length - shared
    if (first < agreed || first - agreed > MAX_STRADDLING_TOKENS) throw unmaskableTokens(where)
    return { start: first, end: upToEnd.length }
  })
  return checkedEnds(found, spans, ids, tokenizer, where)
}

function checkedEnds(
  found: Span[],
  spans: readonly AnswerSpan[],
  ids: readonly number[],
  tokenizer: Tokenizer,
  where: string,
): Span[] {
  for (const [i, { start, end }] of found.entries()) {
    const isEnded = spans[i]!.isOpen || tokenizer.addedIds.has(ids[end - 1]!)
    if (end <= start || !isEnded) throw unmaskableTokens(where)
  }
  return found
}

function unmaskableTokens(where: string): InputError {
  return new InputError(
    'unmaskable-template',
    `${where}: the tokens of an assistant's turn cannot be told from those around it; ${WAYS_OUT}.`,
  )
}
