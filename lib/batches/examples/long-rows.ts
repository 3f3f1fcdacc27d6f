/**
 * Shortens rows that have more tokens than the limit. Whole turns are kept; the last one may be cut inside its content, but not
 * inside its header. An answer stays only with the question before it, and a row begins inside no turn.
 */
import { InputError } from '../../common/errors.js'
import { optionName, theOption } from '../../common/option-names.js'
import type { LongRows } from '../../rows/row-choices.js'
import type { TurnTokens } from '../../text/masks/token-spans.js'
import { isInstruction } from '../../text/templates/messages.js'
import type { Document } from './example.js'

/** Counts of rows that had more tokens than `maxLength` or `maxTokens`. */
export interface LongRowCounts {
  /** Rows that lost whole turns. */
  turns: number
  /** Rows that lost a part of a turn. */
  inside: number
  /** Rows that became several. */
  split: number
  /** Number of rows that the split rows became. */
  into: number
  /** Rows that were left out, as `longRows: drop` says. */
  dropped: number
  /** Rows that were left out because their question alone has `maxLength` tokens or more. */
  questions: number
  /** Rows of more than `maxTokens` tokens, which were left out; absent if there was none. */
  over?: number
}

export const noLongRows = (): LongRowCounts => ({ turns: 0, inside: 0, split: 0, into: 0, dropped: 0, questions: 0 })

/** A document within the limit, or the kept parts of a longer one: several if it was split, none if it was left out. */
interface Limited {
  documents: Document[]
  cut?: Partial<LongRowCounts>
}

export interface LimitOptions {
  /** Maximum number of tokens of a row. */
  maxLength: number
  /** Default `keep-start`. */
  longRows?: LongRows
  /** `all` also trains tokens outside of answers. */
  trainOn: 'completion' | 'all'
  /** The token that begins a row, if the tokenizer has one. */
  bosId?: number
}

/**
 * @param mask 1 for each token of an answer, even if everything is trained
 * @param turns of a conversation, in order; by default each stretch of the mask is a turn.
 * @param where names the row in errors
 * @returns what is left, and the number of tokens before anything was cut
 * @throws InputError `row-too-long` if `longRows` is `error`
 */
export function limitRow(
  { ids, mask }: Document,
  turns: readonly TurnTokens[] | undefined,
  where: string,
  options: LimitOptions,
): Limited & { length: number } {
  const { maxLength, longRows = 'keep-start', trainOn } = options
  const limited = (): Limited => {
    if (ids.length <= maxLength) return { documents: [{ ids, mask }] }
    if (longRows === 'drop') return { documents: [], cut: { dropped: 1 } }
    if (longRows === 'error') {
      throw new InputError(
        'row-too-long',
        `${where}: the row has ${ids.length} tokens, more than ${optionName('maxLength')} ${maxLength}; shorten it, or let long rows be cut (${theOption('longRows')}).`,
      )
    }
    const isText = !turns?.length && !mask.includes(0)
    if (isText) return cutAnywhere({ ids, mask }, longRows, options)
    return new LongRow({ ids, mask }, turns?.length ? turns : turnsOfMask(mask), options).cut(longRows)
  }
  const result = limited()
  if (trainOn === 'all') for (const { mask } of result.documents) mask.fill(1)
  return { ...result, length: ids.length }
}

/** Cuts a text into documents of at most `maxLength`; a last one of a single token, which predicts nothing, borrows one. */
export function windowsOf({ ids, mask }: Document, maxLength: number): Document[] {
  const documents: Document[] = []
  for (let start = 0; start < ids.length; ) {
    const left = ids.length - start
    const length = left === maxLength + 1 && maxLength > 2 ? maxLength - 1 : Math.min(left, maxLength)
    documents.push(part({ ids, mask }, start, start + length))
    start += length
  }
  return documents
}

const part = ({ ids, mask }: Document, start: number, end: number): Document => ({
  ids: ids.slice(start, end),
  mask: mask.slice(start, end),
})

/** Shortens a row that is trained as a whole and has no turns. */
function cutAnywhere(row: Document, longRows: 'keep-start' | 'keep-end' | 'split', options: LimitOptions): Limited {
  const { maxLength, bosId } = options
  if (longRows === 'split') {
    const documents = windowsOf(row, maxLength)
    return { documents, cut: { split: 1, into: documents.length } }
  }
  if (longRows === 'keep-start') return { documents: [part(row, 0, maxLength)], cut: { inside: 1 } }
  const head = maxLength > 2 && beginsWithBos(row, bosId) ? 1 : 0
  return { documents: [joined(row, head, row.ids.length - maxLength + head, row.ids.length)], cut: { inside: 1 } }
}

/** Tells whether a row begins with a BOS token that does not also begin turns. */
function beginsWithBos({ ids }: Document, bosId: number | undefined): boolean {
  return bosId !== undefined && ids[0] === bosId && !ids.includes(bosId, 1)
}

/** Returns the first `head` tokens and those from `start` to `end`. */
function joined({ ids, mask }: Document, head: number, start: number, end: number): Document {
  const kept = <Values extends Int32Array | Uint8Array>(values: Values, result: Values): Values => {
    result.set(values.subarray(0, head))
    result.set(values.subarray(start, end), head)
    return result
  }
  const length = head + end - start
  return { ids: kept(ids, new Int32Array(length)), mask: kept(mask, new Uint8Array(length)) }
}

/** Returns a turn of the assistant for each stretch of the mask, and a user's for the tokens before it. */
function turnsOfMask(mask: Uint8Array): TurnTokens[] {
  const turns: TurnTokens[] = []
  for (let start = 0; start < mask.length; ) {
    const isAnswer = mask[start] === 1
    const next = mask.indexOf(isAnswer ? 0 : 1, start)
    const end = next < 0 ? mask.length : next
    turns.push({ role: isAnswer ? 'assistant' : 'user', start, content: start, end, isApart: true })
    start = end
  }
  return turns
}

/** A part of a row: tokens from `start` to `end`, after the row's head or, without one, by themselves. */
interface Part {
  head: number
  start: number
  end: number
}

/** A question and everything up to the next question. */
interface Exchange {
  start: number
  end: number
}

/** A row of turns with more tokens than the limit. */
class LongRow {
  readonly #row: Document
  readonly #turns: readonly TurnTokens[]
  /** The turns without the system message. */
  readonly #spoken: readonly TurnTokens[]
  readonly #maxLength: number
  readonly #trainsAll: boolean
  /** Number of tokens before the first exchange: BOS and the system message. */
  readonly #head: number
  readonly #exchanges: readonly Exchange[]

  constructor(row: Document, turns: readonly TurnTokens[], { maxLength, trainOn, bosId }: LimitOptions) {
    this.#row = row
    this.#turns = turns
    this.#maxLength = maxLength
    this.#trainsAll = trainOn === 'all'
    const spoken = turns.filter(({ role }) => !isInstruction(role))
    this.#spoken = spoken
    const bos = beginsWithBos(row, bosId) ? 1 : 0
    this.#head = Math.max(bos, spoken[0]?.start ?? 0)
    // A template that writes the system message into the first question: another question follows it without its header.
    const isFolded = this.#head > bos && spoken[0]?.content === this.#head
    const questions = spoken.filter(
      ({ role, isApart }, i) => i > 0 && role === 'user' && spoken[i - 1]!.role !== 'user' && isApart,
    )
    const starts = [this.#head, ...questions.map(({ start, content }) => (isFolded ? content : start))]
    const ends = [...questions.map((question) => this.#endBefore(question)), row.ids.length]
    this.#exchanges = starts.map((start, i) => ({ start, end: ends[i]! }))
  }

  cut(longRows: 'keep-start' | 'keep-end' | 'split'): Limited {
    const { ids } = this.#row
    // A row without any answer is not too long because of its question.
    if (!this.#teaches({ head: 0, start: 0, end: ids.length })) {
      return { documents: [part(this.#row, 0, this.#maxLength)], cut: { inside: 1 } }
    }
    const parts = this.#parts(longRows).filter((one) => this.#teaches(one))
    if (parts.length === 0) return { documents: [], cut: { questions: 1 } }
    return { documents: parts.map((one) => this.#documentOf(one)), cut: this.#countsOf(parts) }
  }

  #parts(longRows: 'keep-start' | 'keep-end' | 'split'): Part[] {
    const head = this.#head
    const exchanges = this.#exchanges
    if (longRows === 'keep-start') return [this.#part(0, 0, this.#row.ids.length)]
    if (longRows === 'keep-end') {
      const last = exchanges.findLastIndex((exchange) => this.#teaches({ head, ...exchange }))
      const kept = exchanges.slice(0, last + 1)
      const { end } = kept.at(-1)!
      const first = kept.find(({ start }) => head + end - start <= this.#maxLength) ?? kept.at(-1)!
      return [this.#part(head, first.start, end)]
    }
    const parts: Part[] = []
    for (let i = 0; i < exchanges.length; i++) {
      const { start } = exchanges[i]!
      while (i + 1 < exchanges.length && head + exchanges[i + 1]!.end - start <= this.#maxLength) i++
      parts.push(this.#part(head, start, exchanges[i]!.end))
    }
    return parts
  }

  /**
   * Returns the part of `start` to `end` that fits. The part ends inside no header and, unless everything is trained, with an
   * answer.
   */
  #part(head: number, start: number, end: number): Part {
    const room = Math.max(0, this.#maxLength - head)
    if (end - start <= room) return { head, start, end }
    let last = start + room
    const turn = this.#turns.find((one) => this.#endBefore(one) < last && last <= one.content && last < one.end)
    if (turn) last = this.#endBefore(turn)
    while (!this.#trainsAll && last > start && !this.#row.mask[last - 1]) last--
    return { head, start, end: Math.max(start, last) }
  }

  /**
   * Returns the end of what precedes a turn: the turn's start, or the place behind its first token if that token ends an
   * answer.
   */
  #endBefore({ role, start }: TurnTokens): number {
    return role !== 'assistant' && this.#isOpenAt(start) ? start + 1 : start
  }

  /** Tells whether an answer goes on at a token. */
  #isOpenAt(at: number): boolean {
    const { mask } = this.#row
    return at > 0 && mask[at - 1] === 1 && mask[at] === 1
  }

  /** Tells whether a part has a target. The first token of a part is not predicted, or belongs to a question. */
  #teaches(part: Part): boolean {
    const { start, end } = part
    if (this.#trainsAll) return end - start > 1 && this.#spoken.some((turn) => this.#begins(part, turn))
    return this.#row.mask.subarray(start + 1, end).includes(1)
  }

  /** Tells whether a part has the beginning of a turn's content. */
  #begins({ head, start, end }: Part, { content }: TurnTokens): boolean {
    return (start <= head || start <= content) && content < end
  }

  #documentOf({ head, start, end }: Part): Document {
    const row = joined(this.#row, head, start, end)
    if (start > head && this.#isOpenAt(start)) row.mask[head] = 0
    return row
  }

  #countsOf(parts: readonly Part[]): Partial<LongRowCounts> {
    const { mask } = this.#row
    const isCutAt =
      (place: number) =>
      ({ role, content, end }: TurnTokens) =>
        content < place && place < end && (mask[place] === 1 || (this.#trainsAll && role !== 'assistant'))
    const isLost = (turn: TurnTokens) => turn.content < turn.end && !parts.some((one) => this.#begins(one, turn))
    return {
      turns: this.#spoken.some(isLost) ? 1 : 0,
      inside: parts.some(({ end }) => this.#turns.some(isCutAt(end))) ? 1 : 0,
      ...(parts.length > 1 && { split: 1, into: parts.length }),
    }
  }
}
