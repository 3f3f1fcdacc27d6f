/** Turns the parts of a message into parts of a stream of the AI SDK. */
import { randomUUID } from 'node:crypto'
import type { LanguageModelV4FinishReason, LanguageModelV4StreamPart } from '@ai-sdk/provider'
import type { GenerateResult } from '../generate/index.js'
import type { MessagePart, PartEvent } from '../serve/message-parts.js'

const UNIFIED: Readonly<Record<string, LanguageModelV4FinishReason['unified']>> = {
  stop: 'stop',
  length: 'length',
  tool_calls: 'tool-calls',
}

export class StreamParts {
  /** The id of the open part, unless it is a call, which has its own. */
  #id = ''
  #hasCalled = false;

  *of(events: Iterable<PartEvent>): Generator<LanguageModelV4StreamPart> {
    for (const one of events) yield* this.#partsOf(one)
  }

  *#partsOf(one: PartEvent): Generator<LanguageModelV4StreamPart> {
    const { event, part } = one
    if (event === 'start') this.#id = randomUUID()
    if (part.type === 'call') return yield* this.#callParts(one, part)
    if (event === 'delta') yield { type: `${part.type}-delta`, id: this.#id, delta: one.delta }
    else yield { type: `${part.type}-${event}`, id: this.#id }
  }

  *#callParts(
    one: PartEvent,
    { id, name: toolName, text }: MessagePart & { type: 'call' },
  ): Generator<LanguageModelV4StreamPart> {
    if (one.event === 'start') yield { type: 'tool-input-start', id, toolName }
    else if (one.event === 'delta') yield { type: 'tool-input-delta', id, delta: one.delta }
    else {
      this.#hasCalled = true
      yield { type: 'tool-input-end', id }
      yield { type: 'tool-call', toolCallId: id, toolName, input: text }
    }
  }

  finish(
    { promptTokens, cachedTokens = 0, newTokens, reasoningTokens = 0, logprobs, tokensPerSecond }: GenerateResult,
    finishReason: string,
  ): LanguageModelV4StreamPart {
    // A call of the one function that was wanted ends by itself.
    const unified = this.#hasCalled && finishReason === 'stop' ? 'tool-calls' : (UNIFIED[finishReason] ?? 'other')
    const ranked = logprobs?.map((one) => ({ ...one, top: one.top.map((other) => ({ ...other })) }))
    return {
      type: 'finish',
      finishReason: { unified, raw: finishReason },
      usage: {
        inputTokens: {
          total: promptTokens,
          noCache: promptTokens - cachedTokens,
          cacheRead: cachedTokens,
          cacheWrite: undefined,
        },
        outputTokens: { total: newTokens, text: newTokens - reasoningTokens, reasoning: reasoningTokens },
      },
      providerMetadata: { mora: { tokensPerSecond, ...(ranked && { logprobs: ranked }) } },
    }
  }
}
