/** Turns the deltas of a message into parts of a stream of the AI SDK. */
import { randomUUID } from 'node:crypto'
import type { LanguageModelV4FinishReason, LanguageModelV4StreamPart } from '@ai-sdk/provider'
import type { GenerateResult } from '../generate/index.js'
import type { ChatDelta } from '../serve/chat-deltas.js'

const UNIFIED: Readonly<Record<string, LanguageModelV4FinishReason['unified']>> = {
  stop: 'stop',
  length: 'length',
  tool_calls: 'tool-calls',
}

/** The part that is open: a stream has one at a time. */
type OpenPart =
  | { readonly type: 'text' | 'reasoning'; readonly id: string }
  | { readonly type: 'tool-input'; readonly id: string; readonly toolName: string; input: string }

export class MessageParts {
  #open: OpenPart | null = null
  #hasCalled = false;

  *add({
    reasoning_content: reasoning,
    content,
    tool_calls: calls = [],
  }: ChatDelta): Generator<LanguageModelV4StreamPart> {
    if (reasoning) yield* this.#text('reasoning', reasoning)
    if (content) yield* this.#text('text', content)
    for (const {
      id,
      function: { name, arguments: delta },
    } of calls) {
      if (id !== undefined && name !== undefined) {
        yield* this.#close()
        this.#open = { type: 'tool-input', id, toolName: name, input: '' }
        yield { type: 'tool-input-start', id, toolName: name }
      }
      if (this.#open?.type !== 'tool-input') continue
      this.#open.input += delta
      yield { type: 'tool-input-delta', id: this.#open.id, delta }
    }
  }

  *#close(): Generator<LanguageModelV4StreamPart> {
    const open = this.#open
    this.#open = null
    if (!open) return
    yield { type: `${open.type}-end`, id: open.id }
    if (open.type === 'tool-input') {
      const { id: toolCallId, toolName, input } = open
      this.#hasCalled = true
      yield { type: 'tool-call', toolCallId, toolName, input }
    }
  }

  *#text(type: 'text' | 'reasoning', delta: string): Generator<LanguageModelV4StreamPart> {
    if (this.#open?.type !== type) {
      yield* this.#close()
      this.#open = { type, id: randomUUID() }
      yield { type: `${type}-start`, id: this.#open.id }
    }
    yield { type: `${type}-delta`, id: this.#open.id, delta }
  }

  /** Ends the open part and the stream. */
  *end(
    { promptTokens, cachedTokens = 0, newTokens, logprobs, tokensPerSecond }: GenerateResult,
    finishReason: string,
  ): Generator<LanguageModelV4StreamPart> {
    yield* this.#close()
    // A call of the one function that was wanted ends by itself.
    const unified = this.#hasCalled && finishReason === 'stop' ? 'tool-calls' : (UNIFIED[finishReason] ?? 'other')
    const ranked = logprobs?.map((one) => ({ ...one, top: one.top.map((other) => ({ ...other })) }))
    yield {
      type: 'finish',
      finishReason: { unified, raw: finishReason },
      usage: {
        inputTokens: {
          total: promptTokens,
          noCache: promptTokens - cachedTokens,
          cacheRead: cachedTokens,
          cacheWrite: undefined,
        },
        outputTokens: { total: newTokens, text: undefined, reasoning: undefined },
      },
      providerMetadata: { mora: { tokensPerSecond, ...(ranked && { logprobs: ranked }) } },
    }
  }
}
