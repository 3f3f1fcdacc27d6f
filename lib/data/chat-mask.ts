/**
 * Which tokens of a rendered conversation are trained: the assistant's turns, each with its end token.
 *
 * A template says nothing about this (its `{% generation %}` marks, where there are any, are not read). The places are
 * found by rendering the conversation up to each assistant's turn, and verified token by token.
 */
import { InputError } from '../errors.js'
import { textsOf } from './messages.js'
import type { ChatTemplate, Message } from './template.js'
import type { Tokenizer } from './tokenizer.js'

export interface MaskedChat {
  ids: number[]
  /** 1 for each trained token. */
  mask: Uint8Array
  /** Turns whose opening in the conversation differs from the generation prompt (thinking blocks). */
  foreignOpenings: number
}

/** Characters of the rendered text, from the first that is trained to the end of the end token. */
interface Span {
  start: number
  end: number
}

/** A token may straddle the start of an answer; more than this many means that something else went wrong. */
const MAX_STRADDLING_TOKENS = 8

/** Templates of thinking models leave out what an earlier turn has before this. */
const THINKING_END = '</think>'

/**
 * @param where names the row in errors
 * @throws InputError `unmaskable-template`, `double-bos`, `no-end-of-turn`
 */
export function maskChat(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly Message[],
  where: string,
): MaskedChat {
  const text = template.render(messages, { addGenerationPrompt: false })
  const ids = tokenizer.encode(text)
  if (tokenizer.bosId !== undefined && ids[0] === tokenizer.bosId && ids[1] === tokenizer.bosId) {
    throw new InputError('double-bos', `${where}: the rendered conversation begins with ${tokenizer.bosToken} twice.`)
  }
  const mask = new Uint8Array(ids.length)
  let foreignOpenings = 0
  let from = 0
  const spans: Span[] = []
  for (const [turn, message] of messages.entries()) {
    if (message.role !== 'assistant') continue
    const start = findStart(text, template, messages, turn, from, where)
    const end = findEnd(text, start.at, tokenizer, template, messages, turn, where)
    if (start.foreign) foreignOpenings++
    spans.push({ start: start.at, end })
    from = end
  }
  for (const span of tokenSpans(text, ids, spans, tokenizer, where)) mask.fill(1, span.start, span.end)
  return { ids, mask, foreignOpenings }
}

/** Where an assistant's turn begins, after its opening. */
function findStart(
  text: string,
  template: ChatTemplate,
  messages: readonly Message[],
  turn: number,
  from: number,
  where: string,
): { at: number; foreign: boolean } {
  const prompt = template.render(messages.slice(0, turn), { addGenerationPrompt: true })
  if (prompt.length >= from && text.startsWith(prompt)) return { at: prompt.length, foreign: false }
  const before = template.render(messages.slice(0, turn), { addGenerationPrompt: false })
  const shared = commonPrefix(text, prompt)
  const content = findContent(text, Math.max(from, commonPrefix(text, before)), text.length, messages[turn]!, 'first')
  const at = content ? Math.min(shared, content.start) : shared
  if (at > commonPrefix(before, prompt) && at >= from) return { at, foreign: true }
  throw unmaskable(where, turn, 'the conversation does not go on where its generation prompt begins')
}

/** Where an assistant's turn ends, after its end token. */
function findEnd(
  text: string,
  start: number,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly Message[],
  turn: number,
  where: string,
): number {
  const message = messages[turn]!
  const upToTurn = template.render(messages.slice(0, turn + 1), { addGenerationPrompt: false })
  const known = text.startsWith(upToTurn) && upToTurn.length > start
  const limit = known ? upToTurn.length : text.length
  const marks = endMarks(text.slice(start, limit), tokenizer, start)
  const content = findContent(text, start, limit, message, known ? 'last' : 'first', marks)
  if (!content && !(known && message.tool_calls))
    throw unmaskable(where, turn, 'its content is not found in the conversation')
  const after = marks.filter((mark) => mark.start >= (content?.end ?? start))
  const mark = message.tool_calls ? after.at(-1) : after[0]
  if (mark) return mark.end
  throw new InputError(
    'no-end-of-turn',
    `${where}: the template puts no special token after messages[${turn}], so the model would never learn to stop; use a template that ends the assistant's turns with one.`,
  )
}

/** The special tokens in a text that begins at `offset`; other added tokens where there are none. */
function endMarks(text: string, tokenizer: Tokenizer, offset: number): Span[] {
  const ids = tokenizer.encodeContinuation(text)
  for (const wanted of [tokenizer.specialIds, tokenizer.addedIds]) {
    const marks: Span[] = []
    let position = 0
    for (const id of ids) {
      if (!wanted.has(id)) continue
      const token = tokenizer.tokenOf(id)!
      const at = text.indexOf(token, position)
      if (at < 0) continue
      position = at + token.length
      marks.push({ start: offset + at, end: offset + position })
    }
    if (marks.length > 0) return marks
  }
  return []
}

/** Templates trim contents, and cut a thinking block off. */
function findContent(
  text: string,
  from: number,
  limit: number,
  message: Message,
  which: 'first' | 'last',
  marks: readonly Span[] = [],
): Span | undefined {
  const content = textsOf(message).join('')
  const answer = content.split(THINKING_END).at(-1)!
  const forms = [content, content.trimStart(), content.trimEnd(), content.trim()]
  if (answer !== content) forms.push(answer.trimStart(), answer.trim())
  // A short answer such as "e" may also be letters of the name of a special token, which are not its place.
  const cutsMark = ({ start, end }: Span) =>
    marks.some((mark) => [start, end].some((cut) => cut > mark.start && cut < mark.end))
  for (const form of forms) {
    const spans = occurrences(text, form, from, limit).filter((span) => !cutsMark(span))
    const span = which === 'last' && form !== '' ? spans.at(-1) : spans[0]
    if (span) return span
  }
  return undefined
}

function occurrences(text: string, form: string, from: number, limit: number): Span[] {
  const spans: Span[] = []
  for (let at = text.indexOf(form, from); at >= 0 && at + form.length <= limit; at = text.indexOf(form, at + 1)) {
    spans.push({ start: at, end: at + form.length })
    if (form === '') break
  }
  return spans
}

function commonPrefix(a: string, b: string): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}

/** Spans of characters as spans of tokens. The pieces between them, encoded on their own, must give the same ids. */
function tokenSpans(
  text: string,
  ids: readonly number[],
  spans: readonly Span[],
  tokenizer: Tokenizer,
  where: string,
): Span[] {
  const cuts = [...spans.flatMap(({ start, end }) => [start, end]), text.length]
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
  if (position !== ids.length) return searchedSpans(text, ids, spans, tokenizer, where)
  const found = spans.map((_, i) => ({ start: places[2 * i]!, end: places[2 * i + 1]! }))
  return checkedEnds(found, ids, tokenizer, where)
}

/** Where a token straddles the start of an answer: the answer's tokens are those after it. */
function searchedSpans(
  text: string,
  ids: readonly number[],
  spans: readonly Span[],
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
  return checkedEnds(found, ids, tokenizer, where)
}

function checkedEnds(spans: Span[], ids: readonly number[], tokenizer: Tokenizer, where: string): Span[] {
  for (const { start, end } of spans) {
    if (end <= start || !tokenizer.addedIds.has(ids[end - 1]!)) throw unmaskableTokens(where)
  }
  return spans
}

function unmaskable(where: string, turn: number, problem: string): InputError {
  return new InputError(
    'unmaskable-template',
    `${where}: the part of messages[${turn}] to train cannot be told from the template: ${problem}; use another template or {input_ids, labels} rows.`,
  )
}

function unmaskableTokens(where: string): InputError {
  return new InputError(
    'unmaskable-template',
    `${where}: the tokens of an assistant's turn cannot be told from those around it; use another template or {input_ids, labels} rows.`,
  )
}
