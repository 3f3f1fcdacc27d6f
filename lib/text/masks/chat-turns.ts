/**
 * Finds the assistant's turns in a rendered conversation, and the part of each that the model has to generate.
 *
 * The template's `{% generation %}` marks, if it has any, enclose the trained text. Otherwise its loop over the messages tells
 * which stretch of the text belongs to which message. A turn begins with its announcement, the text that the template also
 * writes as a generation prompt; training starts after it. If a template does not loop over messages, the conversation up to
 * each turn is rendered and looked up in the whole.
 */
import { InputError } from '../../common/errors.js'
import { theOption } from '../../common/option-names.js'
import { type CompiledTemplate, type Piece, type TemplateContext, textOf } from '../templates/compiled-template.js'
import { isInstruction, type Message, reasoningOf, textsOf, thoughtsOf } from '../templates/messages.js'
import { type LeftOut, leftOut, linesSaid } from './left-out.js'
import type { Mark, TokenMarks } from './token-marks.js'
import {
  type AnswerSpan,
  callsIn,
  callsOf,
  commonPrefix,
  followersOf,
  markedSpans,
  noCounts,
  QUESTION,
  type Span,
  sharedHead,
  spaceAtEnd,
  stretchesOf,
  type TurnCounts,
  type TurnSpan,
  varied,
} from './turn-texts.js'

/** A rendered conversation and the spans that the model has to generate. */
export interface ChatAnswers {
  /** The rendered text, with the end of the last turn added where the template leaves it out. */
  text: string
  spans: AnswerSpan[]
  /** The messages in the text, in order; none if the template does not loop over them. */
  turns: TurnSpan[]
  counts: TurnCounts
}

/** Ends the sentence of a refusal. */
export const waysOut = () =>
  `train the whole text (${theOption('trainOn', 'all')}), name a template that says what is trained by {% generation %} marks (${theOption('template')}), or give {input_ids, labels} rows`

const THINKING_END = '</think>'

export class ChatTurns {
  #text: string
  readonly #pieces: readonly Piece[]
  readonly #messages: readonly Message[]
  /** The stretches of the text that each message wrote. */
  readonly #stretches: readonly Span[][]
  #whole: string | undefined
  /** The token that ends a plain answer; empty if there is none. */
  #plainEnd: string | undefined
  #variedHeads: readonly (string | undefined)[] | undefined
  readonly #template: CompiledTemplate
  readonly #marks: TokenMarks
  readonly #context: TemplateContext
  readonly #where: string
  /** Whether messages were added to the conversation, to see what ends the turn before them. */
  #isFollowed = false

  /**
   * @param where names the row in errors
   * @throws InputError `template-failed`
   */
  constructor(
    template: CompiledTemplate,
    marks: TokenMarks,
    messages: readonly Message[],
    context: TemplateContext,
    where: string,
  ) {
    this.#template = template
    this.#marks = marks
    this.#context = context
    this.#where = where
    this.#messages = template.accepted(messages, context)
    this.#pieces = this.#write(this.#messages, false)
    this.#text = textOf(this.#pieces)
    this.#stretches = stretchesOf(this.#pieces, messages.length)
  }

  /** @throws InputError `unmaskable-template`, `no-end-of-turn` */
  answers(): ChatAnswers {
    return this.#template.marking(this.#context) === 'none' ? this.#found() : this.#marked()
  }

  #found(): ChatAnswers {
    const counts = noCounts()
    const spans: AnswerSpan[] = []
    /** Where the answers of turns begin. */
    const starts = new Map<number, number>()
    for (const [turn, message] of this.#messages.entries()) {
      const isDropped = this.#isDropped(turn)
      if (isDropped) counts.droppedMessages++
      if (message.role !== 'assistant' || message.weight === 0) continue
      const { parts, isForeign } = this.#answer(turn, spans.at(-1)?.end ?? 0)
      if (isDropped) continue
      const shown = this.#textOf(parts)
      const lost = this.#counted(turn, shown, counts)
      this.#checkContent(turn, shown, lost)
      if (lost.everything) {
        counts.silentTurns++
        continue
      }
      const ended = parts.flatMap((part) => this.#ended(part, turn))
      if (ended[0]) starts.set(turn, ended[0].start)
      if (isForeign) counts.foreignOpenings++
      counts.openEnds += ended.filter(({ isOpen }) => isOpen).length
      counts.addedEnds += ended.filter(({ isAdded }) => isAdded).length
      spans.push(...ended)
    }
    return { text: this.#text, spans, turns: this.#turns(starts), counts }
  }

  /** Returns the spans that the template marks. */
  #marked(): ChatAnswers {
    const counts = noCounts()
    const all = markedSpans(this.#pieces)
    const isHidden = this.#template.marking(this.#context) === 'hidden'
    const hasWeights = this.#messages.some(({ weight }) => weight === 0)
    if (isHidden || (hasWeights && all.some(({ message }) => message === undefined))) {
      const place = isHidden
        ? 'in a macro, a filter or a set block, whose text may be changed before it is written'
        : 'in no loop over the messages, so they do not tell which turns have weight 0'
      throw new InputError(
        'unmaskable-template',
        `${this.#where}: the chat template's {% generation %} marks stand ${place}; write them in its loop over the messages, or leave them out.`,
      )
    }
    const spans = all.filter(({ message }) => message === undefined || this.#messages[message]!.weight !== 0)
    const starts = new Map<number, number>()
    const lasts = new Map<number | undefined, Span>()
    for (const span of spans) {
      const { message, start } = span
      if (message !== undefined && !starts.has(message)) starts.set(message, start)
      lasts.set(message, span)
    }
    const ends = [...lasts.values()].map((span) => this.#marks.last(this.#textOf([span]), { onlySpecial: true }))
    counts.openEnds = ends.filter((end) => end === undefined).length
    const isLooping = this.#stretches.some((one) => one.length > 0)
    for (const [turn, { role, weight }] of this.#messages.entries()) {
      if (this.#isDropped(turn)) counts.droppedMessages++
      else if (role === 'assistant' && weight !== 0) {
        this.#counted(turn, isLooping ? this.#textOf(this.#stretches[turn]!) : this.#text, counts)
      }
    }
    return { text: this.#text, spans, turns: this.#turns(starts), counts }
  }

  #textOf(spans: readonly Span[]): string {
    return spans.map(({ start, end }) => this.#text.slice(start, end)).join('')
  }

  /** Counts and returns the parts of a turn that the template leaves out. */
  #counted(turn: number, shown: string, counts: TurnCounts): LeftOut {
    const lost = leftOut(this.#messages[turn]!, shown)
    if (lost.calls) counts.droppedCalls++
    if (lost.reasoning) counts.droppedReasoning++
    return lost
  }

  /**
   * Returns the messages in the order of the text, without messages that the template moves elsewhere.
   * @param starts where the answers of turns begin
   */
  #turns(starts: ReadonlyMap<number, number> = new Map()): TurnSpan[] {
    const turns: TurnSpan[] = []
    for (const [turn, { role }] of this.#messages.entries()) {
      const stretches = this.#stretches[turn]!
      const [start, end] = [stretches[0]?.start, stretches.at(-1)?.end]
      if (start === undefined || end === undefined || start < (turns.at(-1)?.end ?? 0)) continue
      turns.push({ role, start, content: this.#contentStart(turn, { start: starts.get(turn) ?? start, end }), end })
    }
    const [first] = turns
    const instruction = first && this.#foldedInstruction(first)
    if (!instruction) return turns
    return [instruction, { ...first, start: first.content }, ...turns.slice(1)]
  }

  /** Returns the place where a message's content begins in a part of the text; the part's end if the content is not there. */
  #contentStart(turn: number, { start, end }: Span): number {
    const message = this.#messages[turn]!
    const own = this.#text.slice(start, end)
    const reasoning = reasoningOf(message)
    const thoughts = [...(typeof reasoning === 'string' ? [reasoning] : []), ...thoughtsOf(message)]
    const others = [...callsOf(message), ...thoughts.map((text) => text.trim())]
    const said = textsOf(message).map((text) => text.trim())
    const places = [
      ...others.flatMap((text) => (text === '' ? [] : own.indexOf(text))),
      // A short content may be found in the header, too, and stands behind it.
      ...said.flatMap((text) => (text === '' ? [] : own.lastIndexOf(text))),
    ].filter((at) => at >= 0)
    if (places.length > 0) return start + Math.min(...places)
    const lines = said.flatMap((text) => text.split('\n')).flatMap((line) => line.trim() || [])
    const found = lines.map((line) => own.indexOf(line)).filter((at) => at >= 0)
    return found.length > 0 ? start + Math.min(...found) : end
  }

  /** Returns the system message if the template writes it into the first turn, before that turn's content. */
  #foldedInstruction({ start, content }: TurnSpan): TurnSpan | undefined {
    const [message] = this.#messages
    if (!message || !isInstruction(message.role) || this.#stretches[0]!.length > 0) return undefined
    const said = textsOf(message).join('').trim()
    const at = said === '' ? -1 : this.#text.slice(start, content).indexOf(said)
    return at < 0 ? undefined : { role: message.role, start, content: start + at, end: content }
  }

  /** Returns the parts of the text that the model has to generate in a turn, without the turn's end. */
  #answer(turn: number, from: number): { parts: Span[]; isForeign: boolean } {
    const stretches = this.#stretches[turn]!
    const [first, ...others] = stretches
    if (!first) {
      if (this.#stretches.some((one) => one.length > 0)) return { parts: [], isForeign: false }
      const between = this.#between(turn, from)
      if (between) return { parts: [between], isForeign: false }
    }
    const opening = first && this.#opening(turn, first)
    if (opening) return { parts: [{ start: opening.end, end: first.end }, ...others], isForeign: opening.isForeign }
    throw this.#unmaskable(turn, 'the conversation does not go on where its generation prompt begins')
  }

  /** Returns the text that a turn adds, for a template that does not loop over messages. */
  #between(turn: number, from: number): Span | undefined {
    const start = this.#lengthAtStart(this.#prompt(this.#messages.slice(0, turn)))
    const end = this.#lengthAtStart(this.#rendered(this.#messages.slice(0, turn + 1), false))
    return start >= from && end > start ? { start, end } : undefined
  }

  /** Returns the length of a text if the conversation begins with it, else -1. */
  #lengthAtStart(pieces: readonly Piece[] | undefined): number {
    if (!pieces) return -1
    const text = textOf(pieces)
    return this.#text.startsWith(text) ? text.length : -1
  }

  /** Returns where the announcement of a turn ends; undefined if it cannot be determined. */
  #opening(turn: number, { start, end }: Span): { end: number; isForeign: boolean } | undefined {
    const before = this.#messages.slice(0, turn)
    const prompt = this.#prompt(before)
    const prompted = this.#lengthAtStart(prompt)
    if (prompted >= start && prompted <= end) return { end: prompted, isForeign: false }
    const known = [this.#announcement(before, prompt), this.#wholeAnnouncement()].filter((one) => one !== '')
    if (known.length === 0) return { end: start, isForeign: false }
    // The head stops where the message's own content begins, which is never part of an announcement.
    const own = this.#text.slice(start, end)
    const head = sharedHead(own, this.#varied(turn))
    for (const announcement of known) {
      const length = this.#announced(announcement, head)
      if (length !== undefined) return { end: start + length, isForeign: true }
    }
    return this.#announcesAnswers() ? { end: start, isForeign: true } : undefined
  }

  /** Returns the length of a turn's head up to the end of its announcement; undefined if it has none. */
  #announced(announcement: string, head: string): number | undefined {
    const shared = this.#sharedWithOthers(announcement)
    const marks = this.#marks.of(announcement).map((mark) => mark.end)
    const lines = [...announcement.matchAll(/\n/g)].map(({ index }) => index + 1)
    const lengths = [...new Set([...marks, ...lines, announcement.length])].sort((a, b) => b - a)
    for (const length of lengths) {
      const at = length > shared ? head.indexOf(announcement.slice(0, length)) : -1
      if (at >= 0) return at + length
    }
    const alike = commonPrefix(announcement, head)
    const isCut = this.#marks.of(head).some((mark) => mark.start < alike && alike < mark.end)
    return alike > shared && !isCut ? alike : undefined
  }

  /** Returns how many characters of an announcement other speakers' turns begin with, too: the rest names the assistant. */
  #sharedWithOthers(announcement: string): number {
    const others = this.#stretches.filter((_, i) => this.#messages[i]!.role !== 'assistant')
    const heads = others.flatMap(([first]) => (first ? [this.#text.slice(first.start, first.end)] : []))
    return Math.max(0, ...heads.map((head) => commonPrefix(announcement, head)))
  }

  /**
   * Tells whether turns of this template begin with the generation prompt at all; then a turn without it continues the last.
   */
  #announcesAnswers(): boolean {
    const answer = this.#plainAnswer()
    if (answer === undefined) return false
    const head = sharedHead(answer, this.#plainAnswer('Reply'))
    return this.#announced(this.#announcement([QUESTION]), head) !== undefined
  }

  /** Renders an answer to a question and returns the answer's stretch. */
  #plainAnswer(content = 'Answer'): string | undefined {
    return this.#headsOf([QUESTION, { role: 'assistant', content }])[1]
  }

  /** Returns the text that the template adds as a generation prompt; empty if it refuses. */
  #announcement(messages: readonly Message[], prompt = this.#prompt(messages)): string {
    if (!prompt) return ''
    const last = prompt.findLastIndex(({ message }) => message !== undefined)
    if (last < 0) return ''
    const tail = textOf(prompt.slice(last + 1))
    if (tail !== '') return tail
    const unprompted = this.#rendered(messages, false)
    if (!unprompted) return ''
    const [longer, shorter] = [textOf(prompt), textOf(unprompted)]
    return longer.startsWith(shorter) ? longer.slice(shorter.length) : ''
  }

  #wholeAnnouncement(): string {
    this.#whole ??= this.#announcement(this.#messages)
    return this.#whole
  }

  /** Returns the turn's first stretch when the assistant says something else. */
  #varied(turn: number): string | undefined {
    this.#variedHeads ??= this.#headsOf(varied(this.#messages))
    return this.#variedHeads[turn]
  }

  /** Returns the first stretch of each message. */
  #headsOf(messages: readonly Message[]): (string | undefined)[] {
    const pieces = this.#rendered(messages, false)
    if (!pieces) return []
    const text = textOf(pieces)
    return stretchesOf(pieces, messages.length).map(([first]) => first && text.slice(first.start, first.end))
  }

  /** Extends or cuts a stretch to the token that ends it; drops a blank one. */
  #ended({ start, end }: Span, turn: number): AnswerSpan[] {
    const own = this.#text.slice(start, end)
    if (own.trim() === '') return []
    const last = this.#lastMark(own)
    const cut = last && this.#endedAt(start, start + last.start, start + last.end)
    if (cut && this.#endsTurn(turn, own, last)) return [cut]
    const next = this.#nextMark(end, last?.isSpecial ?? false)
    if (next) return [this.#endedAt(start, next.start, next.end)]
    const isLast = this.#text.slice(end).trim() === ''
    const tail = isLast ? this.#tail(turn, own) : undefined
    if (tail !== undefined) return [this.#extended({ start, end }, turn, tail)]
    if (cut) return [cut]
    // In such a template the next turn's announcement ends this one.
    const openings = this.#stretches.flatMap(([first]) => (first ? [this.#text.slice(first.start, first.end)] : []))
    if (!isLast && [this.#wholeAnnouncement(), ...openings].some((one) => this.#marks.specialAt(one, 0))) {
      return [{ start, end, isOpen: true }]
    }
    throw new InputError(
      'no-end-of-turn',
      `${this.#where}: the template puts no special token after messages[${turn}], so the model would never learn to stop; use a template that ends the assistant's turns with one.`,
    )
  }

  /** Returns a span that ends with a token. */
  #endedAt(start: number, token: number, end: number): AnswerSpan {
    return { start, end, isOpen: false, token: this.#text.slice(token, end) }
  }

  /** Returns the token that a text ends with, a special one if there is one. */
  #lastMark(text: string): Mark | undefined {
    return this.#marks.last(text, { onlySpecial: true }) ?? this.#marks.last(text, { onlySpecial: false })
  }

  /** Returns the token that a text ends with; empty if there is none. */
  #lastToken(text: string): string {
    const mark = this.#lastMark(text)
    return mark ? text.slice(mark.start, mark.end) : ''
  }

  /** Tells whether the token at the end of a turn ends it, and not just a call. */
  #endsTurn(turn: number, own: string, last: Mark): boolean {
    const message = this.#messages[turn]!
    const calls = callsIn(message)
    if (last.isSpecial && calls.length === 0) return true
    this.#plainEnd ??= this.#lastToken(this.#plainAnswer() ?? '')
    if (!last.isSpecial) return this.#plainEnd !== ''
    const token = own.slice(last.start, last.end)
    if (token === this.#plainEnd) return true
    const doubled = { ...message, tool_calls: [...calls, ...calls] }
    const other = this.#headsOf([...this.#messages.slice(0, turn), doubled])[turn] ?? ''
    return other.split(token).length <= own.split(token).length
  }

  /**
   * Returns the text that the template would write after the last turn, up to the token that ends it, if other messages
   * followed; undefined if it cannot be determined.
   */
  #tail(turn: number, own: string): string | undefined {
    if (this.#isFollowed) return undefined
    for (const next of followersOf(this.#messages[turn]!)) {
      const longer = this.#longer(turn, next) ?? ''
      const token = this.#lastToken(longer)
      if (token === '' || own.trimEnd().endsWith(token)) continue
      const space = spaceAtEnd(longer.slice(0, longer.lastIndexOf(token)))
      const ownSpace = spaceAtEnd(own)
      return (space.startsWith(ownSpace) ? space.slice(ownSpace.length) : '') + token
    }
    return undefined
  }

  /** Returns a turn's last trained text where other messages follow it; undefined if the template refuses them. */
  #longer(turn: number, next: readonly Message[]): string | undefined {
    const messages = [...this.#messages.slice(0, turn + 1), ...next]
    try {
      const other = new ChatTurns(this.#template, this.#marks, messages, this.#context, this.#where)
      other.#isFollowed = true
      const found = other.#answer(turn, 0)
      const span = found.parts.flatMap((part) => other.#ended(part, turn)).at(-1)
      return span && other.#text.slice(span.start, span.end)
    } catch (error) {
      if (error instanceof InputError) return undefined
      throw error
    }
  }

  /** Writes the end of the last turn into the text. */
  #extended({ start, end }: Span, turn: number, tail: string): AnswerSpan {
    this.#text = this.#text.slice(0, end) + tail + this.#text.slice(end)
    const last = this.#stretches[turn]!.at(-1)
    if (last) last.end += tail.length
    return { start, end: end + tail.length, isOpen: false, token: tail.trimStart(), isAdded: true }
  }

  /**
   * Returns the special token right after a turn, unless it announces the assistant again.
   * @param isEnded the turn ends with a special token itself, so the next one may not even begin an announcement
   */
  #nextMark(end: number, isEnded: boolean): Span | undefined {
    const mark = this.#marks.specialAt(this.#text, end)
    const announcement = this.#wholeAnnouncement()
    const isAssistants =
      mark &&
      announcement.startsWith(this.#text.slice(mark.start, mark.end)) &&
      (isEnded || mark.end - mark.start > this.#sharedWithOthers(announcement))
    return isAssistants ? undefined : mark
  }

  /**
   * Requires some line of the answer in the text: a template may leave out the thinking or the whole answer, but must not
   * replace it.
   */
  #checkContent(turn: number, shown: string, lost: LeftOut): void {
    const message = this.#messages[turn]!
    if (message.tool_calls && !lost.everything) return
    const answer = textsOf(message).join('\n').split(THINKING_END).at(-1)!
    const lines = linesSaid(answer)
    const isShown = lines.length === 0 || lines.some((line) => shown.includes(line))
    if (!isShown && linesSaid(shown).length > 0) {
      throw this.#unmaskable(turn, 'its content is not found in the conversation')
    }
  }

  #isDropped(turn: number): boolean {
    const message = this.#messages[turn]!
    if (this.#stretches[turn]!.length > 0 || this.#stretches.every((one) => one.length === 0)) return false
    return textsOf(message).some((text) => !this.#text.includes(text.trim()))
  }

  #prompt(messages: readonly Message[]): Piece[] | undefined {
    return this.#rendered(messages, true)
  }

  /** Renders messages; undefined if the template refuses a part of a conversation that it accepts as a whole. */
  #rendered(messages: readonly Message[], addGenerationPrompt: boolean): Piece[] | undefined {
    try {
      return this.#write(messages, addGenerationPrompt)
    } catch (error) {
      if (error instanceof InputError) return undefined
      throw error
    }
  }

  #write(messages: readonly Message[], addGenerationPrompt: boolean): Piece[] {
    return this.#template.write(messages, { ...this.#context, addGenerationPrompt })
  }

  #unmaskable(turn: number, problem: string): InputError {
    return new InputError(
      'unmaskable-template',
      `${this.#where}: the part of messages[${turn}] to train cannot be found in the rendered text: ${problem}; ${waysOut()}.`,
    )
  }
}
