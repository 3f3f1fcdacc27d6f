/** Turns the deltas of a message into parts that follow each other: texts, reasoning and calls. */
import type { TokenText } from '../generate/index.js'
import type { ChatDelta } from './chat-deltas.js'

/** A part of a message, with what it has so far: for a call the JSON of its arguments. */
export type MessagePart =
  | { readonly type: 'text' | 'reasoning'; text: string }
  | { readonly type: 'call'; readonly id: string; readonly name: string; text: string }

/** What happens to a part. One part is open at a time. */
export type PartEvent =
  | { readonly event: 'start'; readonly part: MessagePart }
  | {
      readonly event: 'end'
      readonly part: MessagePart
      /** Whether the limit of tokens has cut the part. */
      readonly isCut: boolean
    }
  | {
      readonly event: 'delta'
      readonly part: MessagePart
      readonly delta: string
      /** Log-probabilities of a text's tokens, if requested. */
      readonly logprobs: readonly TokenText[]
    }

export class MessageParts {
  #open: MessagePart | null = null
  /** Log-probabilities of tokens whose text comes later. */
  #logprobs: TokenText[] = [];

  *add(
    { reasoning_content: reasoning, content, tool_calls: calls = [] }: ChatDelta,
    logprobs: readonly TokenText[] = [],
  ): Generator<PartEvent> {
    this.#logprobs.push(...logprobs)
    if (reasoning) yield* this.#text('reasoning', reasoning)
    if (content) yield* this.#text('text', content)
    for (const { id, function: called } of calls) {
      if (id !== undefined && called.name !== undefined) {
        yield* this.end()
        yield* this.#begin({ type: 'call', id, name: called.name, text: '' })
      }
      if (this.#open) yield this.#delta(this.#open, called.arguments)
    }
  }

  /** Ends the open part. @param isCut whether the limit of tokens does it */
  *end(isCut = false): Generator<PartEvent> {
    if (this.#open) yield { event: 'end', part: this.#open, isCut }
    this.#open = null
  }

  *#text(type: 'text' | 'reasoning', delta: string): Generator<PartEvent> {
    if (this.#open?.type !== type) {
      yield* this.end()
      yield* this.#begin({ type, text: '' })
    }
    yield this.#delta(this.#open!, delta)
  }

  *#begin(part: MessagePart): Generator<PartEvent> {
    this.#open = part
    yield { event: 'start', part }
  }

  #delta(part: MessagePart, delta: string): PartEvent {
    part.text += delta
    const logprobs = part.type === 'text' ? this.#logprobs : []
    this.#logprobs = []
    return { event: 'delta', part, delta, logprobs }
  }
}
