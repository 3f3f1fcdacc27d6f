/** Helpers to compare the texts of turns. */
import { isJsonObject } from '../../io/json.js'
import type { Piece } from '../templates/compiled-template.js'
import { isThinking, type Message } from '../templates/messages.js'

/** Characters of a text, from `start` up to `end`. */
export interface Span {
  start: number
  end: number
}

/** A trained span of a turn, with its end token unless it is open. */
export interface AnswerSpan extends Span {
  /** Whether the template puts no token at the span's end. */
  isOpen: boolean
  /** The spelling of the token at the span's end. */
  token?: string
  /** The end token was added, and is not the template's. */
  isAdded?: true
  /** The template marks the span, so every overlapping token belongs to it. */
  isMarked?: true
}

/** A message in the text. */
export interface TurnSpan extends Span {
  /** The role of the speaker. */
  role: string
  /** End of the header, where the content begins; `end` if there is no content. */
  content: number
}

export function commonPrefix(a: string, b: string): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}

/** Returns the common prefix of two texts; the whole text without another. */
export function sharedHead(text: string, other = text): string {
  return text.slice(0, commonPrefix(text, other))
}

/** Returns the conversation with the first character of every content of the assistant changed. */
export function varied(messages: readonly Message[]): Message[] {
  return messages.map((message) => {
    if (message.role !== 'assistant') return message
    const { content, reasoning_content, thinking, tool_calls } = message
    return {
      ...message,
      ...(content !== undefined && { content: variedContent(content) }),
      ...(typeof reasoning_content === 'string' && { reasoning_content: variedText(reasoning_content) }),
      ...(typeof thinking === 'string' && { thinking: variedText(thinking) }),
      ...(Array.isArray(tool_calls) && { tool_calls: tool_calls.map(variedCall) }),
    }
  })
}

function variedText(text: string): string {
  return `${text.trimStart().startsWith('x') ? 'y' : 'x'}${text}`
}

function variedContent(content: Message['content']): Message['content'] {
  if (typeof content === 'string') return variedText(content)
  return content?.map((part) =>
    isThinking(part) ? { ...part, thinking: variedText(part.thinking) } : { ...part, text: variedText(part.text) },
  )
}

function variedCall(call: unknown): unknown {
  if (typeof call !== 'object' || call === null) return call
  const { name, function: called } = call as { name?: unknown; function?: unknown }
  if (called !== undefined) return { ...call, function: variedCall(called) }
  return typeof name === 'string' ? { ...call, name: variedText(name) } : call
}

/** Returns the stretches of each message; adjacent ones are joined. */
export function stretchesOf(pieces: readonly Piece[], messages: number): Span[][] {
  const stretches: Span[][] = Array.from({ length: messages }, () => [])
  let start = 0
  for (const { text, message } of pieces) {
    const end = start + text.length
    const own = message === undefined ? undefined : stretches[message]!
    if (own && own.at(-1)?.end === start) own.at(-1)!.end = end
    else own?.push({ start, end })
    start = end
  }
  return stretches
}

/** Returns the calls of a message, in whatever form. */
export function callsIn({ tool_calls }: Message): unknown[] {
  return Array.isArray(tool_calls) ? tool_calls : []
}

const nameOf = ({ name, function: called }: Readonly<Record<string, unknown>>): unknown =>
  (isJsonObject(called) ? called.name : undefined) ?? name

/** Returns the names of the functions that a message calls. */
export function callsOf(message: Message): string[] {
  const names = callsIn(message).filter(isJsonObject).map(nameOf)
  return names.filter((name) => typeof name === 'string')
}

/** A message that may follow any other. */
export const QUESTION: Message = { role: 'user', content: 'Question' }

/** Returns messages that may follow a turn of the assistant, the likeliest first. */
export function followersOf(message: Message): Message[][] {
  const calls = callsIn(message).filter(isJsonObject)
  const results = calls.map(
    (call): Message => ({ role: 'tool', content: 'Result', name: nameOf(call), tool_call_id: call.id }),
  )
  return [...(results.length > 0 ? [results] : []), [QUESTION]]
}

/** Returns the white space that a text ends with. */
export const spaceAtEnd = (text: string): string => text.slice(text.trimEnd().length)

/** Spans between marks, in order, and the message that wrote each; undefined outside of loops over messages. */
type MarkedSpan = AnswerSpan & { message: number | undefined }

/** Returns the spans of a conversation that a template marks by `{% generation %}`. */
export function markedSpans(pieces: readonly Piece[]): MarkedSpan[] {
  const spans: MarkedSpan[] = []
  let start = 0
  for (const { text, message, generated } of pieces) {
    const end = start + text.length
    if (generated) spans.push({ start, end, message, isOpen: false, isMarked: true })
    start = end
  }
  return spans
}

/** Counts of turns and messages that a chat template changes or leaves out. */
export interface TurnCounts {
  /** Turns whose opening in the conversation differs from the generation prompt (thinking blocks). */
  foreignOpenings: number
  /**
   * Turns that are trained without an end token, because another turn of the assistant follows or the template's marks leave
   * the token out.
   */
  openEnds: number
  /** Last turns that the template leaves open: the token that ends other turns is added and trained. */
  addedEnds: number
  /** Turns whose tool calls the template leaves out. */
  droppedCalls: number
  /** Turns whose reasoning or another part of the content is left out by the template. */
  droppedReasoning: number
  /** Turns that are not trained, since the template writes none of their content. */
  silentTurns: number
  /** Messages, of any role, that the template leaves out. */
  droppedMessages: number
}

export const noCounts = (): TurnCounts => ({
  foreignOpenings: 0,
  openEnds: 0,
  addedEnds: 0,
  droppedCalls: 0,
  droppedReasoning: 0,
  silentTurns: 0,
  droppedMessages: 0,
})
