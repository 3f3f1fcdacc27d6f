/** Writes an answer as a message in Anthropic's form, and its events. */
import { randomUUID } from 'node:crypto'
import { isObject } from '../../common/arguments.js'
import { jsonIn } from '../../io/json.js'
import type { AnswerEvent, AnswerWriter } from '../answer-chat.js'
import type { MessagePart, PartEvent } from '../message-parts.js'
import { messageFailure } from './error.js'

type Finish = AnswerEvent & { readonly event: 'finish' }

export class MessageWriter implements AnswerWriter {
  readonly isNamed = true
  readonly failure = messageFailure
  readonly #id = `msg_${randomUUID().replaceAll('-', '')}`
  readonly #content: { type: string }[] = []
  #hasBegun = false
  #whole: object = {}

  constructor(readonly model: string) {}

  get whole(): object {
    return this.#whole
  }

  async *events(answer: AsyncIterable<AnswerEvent>): AsyncGenerator<object> {
    for await (const one of answer) {
      if (!this.#hasBegun) {
        // The tokens of the prompt are counted at the end.
        yield { type: 'message_start', message: this.#message(null, { input_tokens: 0, output_tokens: 0 }) }
        this.#hasBegun = true
      }
      if (one.event === 'finish') yield* this.#finish(one)
      else yield this.#event(one)
    }
  }

  #event(one: PartEvent): object {
    const index = this.#content.length
    if (one.event === 'start') return { type: 'content_block_start', index, content_block: blockOf(one.part) }
    if (one.event === 'delta') return { type: 'content_block_delta', index, delta: deltaOf(one.part, one.delta) }
    this.#content.push(blockOf(one.part))
    return { type: 'content_block_stop', index }
  }

  *#finish(end: Finish): Generator<object> {
    const { promptTokens, cachedTokens = 0, newTokens } = end.whole
    const usage = {
      input_tokens: promptTokens - cachedTokens,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: cachedTokens,
      output_tokens: newTokens,
      output_tokens_details: { thinking_tokens: end.reasoningTokens },
    }
    const delta = this.#stopOf(end)
    this.#whole = this.#message(delta, usage)
    yield { type: 'message_delta', delta, usage }
    yield { type: 'message_stop' }
  }

  #stopOf({ finishReason, whole }: Finish) {
    const hasCalls = this.#content.some(({ type }) => type === 'tool_use')
    const { stopString = null } = whole
    const reason =
      finishReason === 'length' ? 'max_tokens' : hasCalls ? 'tool_use' : stopString ? 'stop_sequence' : 'end_turn'
    return { stop_reason: reason, stop_sequence: reason === 'stop_sequence' ? stopString : null }
  }

  #message(stop: object | null, usage: object): object {
    return {
      id: this.#id,
      type: 'message',
      role: 'assistant',
      model: this.model,
      content: [...this.#content],
      ...(stop ?? { stop_reason: null, stop_sequence: null }),
      usage: { cache_creation_input_tokens: 0, cache_read_input_tokens: 0, ...usage },
    }
  }
}

/** Returns a block. The input of a call that was cut is empty. */
function blockOf(part: MessagePart) {
  const { type, text } = part
  if (type === 'text') return { type, text }
  if (part.type !== 'call') return { type: 'thinking', thinking: text, signature: '' }
  const input = jsonIn(text)
  return { type: 'tool_use', id: part.id, name: part.name, input: isObject(input) ? input : {} }
}

function deltaOf({ type }: MessagePart, delta: string): object {
  if (type === 'text') return { type: 'text_delta', text: delta }
  if (type === 'reasoning') return { type: 'thinking_delta', thinking: delta }
  return { type: 'input_json_delta', partial_json: delta }
}
