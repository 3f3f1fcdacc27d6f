/** Writes an answer as a message in Anthropic's form, and its events. */
import { randomUUID } from 'node:crypto'
import { isObject } from '../../common/arguments.js'
import type { GenerateResult } from '../../generate/index.js'
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
  #whole: object = {}

  constructor(readonly model: string) {}

  get whole(): object {
    return this.#whole
  }

  async *events(answer: AsyncIterable<AnswerEvent>): AsyncGenerator<object> {
    for await (const one of answer) {
      if (one.event === 'begin') {
        const usage = { ...promptUsage(one.prompt), output_tokens: 0 }
        yield { type: 'message_start', message: this.#message(NOT_STOPPED, usage) }
      } else if (one.event === 'finish') yield* this.#finish(one)
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
    const { newTokens, reasoningTokens = 0 } = end.whole
    const usage = {
      ...promptUsage(end.whole),
      output_tokens: newTokens,
      output_tokens_details: { thinking_tokens: reasoningTokens },
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

  #message(stop: object, usage: object): object {
    return {
      id: this.#id,
      type: 'message',
      role: 'assistant',
      model: this.model,
      content: [...this.#content],
      ...stop,
      usage,
    }
  }
}

const NOT_STOPPED = { stop_reason: null, stop_sequence: null }

/** Counts the tokens of a prompt. Anthropic's `input_tokens` are without the cache's. */
const promptUsage = ({ promptTokens, cachedTokens = 0 }: Pick<GenerateResult, 'promptTokens' | 'cachedTokens'>) => ({
  input_tokens: promptTokens - cachedTokens,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: cachedTokens,
})

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
