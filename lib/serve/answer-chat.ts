/** Answers a chat with one message, in the form of a route. */
import type { GenerateResult } from '../generate/index.js'
import type { ChatMessage } from './chat-deltas.js'
import { eventStream, type StreamForm } from './event-stream.js'
import { MessageParts, type PartEvent } from './message-parts.js'
import { type ChatParams, type RequestedChat, textsOfChat } from './requested-chat.js'
import type { Serving } from './serving.js'
import { type TextEvent, writeTexts } from './write-texts.js'

/** What happens to a part of the message, and last the end of the message. */
export type AnswerEvent =
  | PartEvent
  | {
      readonly event: 'finish'
      /** `stop`, `length` or `tool_calls`. */
      readonly finishReason: string
      readonly whole: GenerateResult
      readonly reasoningTokens: number
    }

/** Writes an answer in the form of a route. */
export interface AnswerWriter extends StreamForm {
  /** Yields the events of a stream. The first is yielded after the first of the answer, so that an error before it has its own status. */
  events(answer: AsyncIterable<AnswerEvent>): AsyncGenerator<object>
  /** The whole answer, after its last event. */
  readonly whole: object
}

/** @param writerOf gets the name of the model that answers @throws what `textsOfChat`, `admit` and the engine throw */
export async function answerChat(
  request: Request,
  serving: Serving,
  { chat, params }: { chat: RequestedChat; params: ChatParams },
  writerOf: (model: string) => AnswerWriter,
): Promise<Response> {
  const { texts, newMessage } = await textsOfChat(chat, serving, params)
  const active = await serving.requests.admit(chat.model, 1, request)
  try {
    const writer = writerOf(active.used.model)
    const events = writer.events(answerOf(writeTexts(serving.engine, texts, active), newMessage()))
    if (chat.stream) return await eventStream(events, active, serving.onError, writer)
    for await (const _ of events);
    return Response.json(writer.whole)
  } catch (error) {
    active.end()
    throw error
  }
}

async function* answerOf(texts: AsyncIterable<TextEvent>, message: ChatMessage): AsyncGenerator<AnswerEvent> {
  const parts = new MessageParts()
  let reasoningTokens = 0
  for await (const event of texts) {
    if ('piece' in event) {
      const { piece } = event
      if (piece.reasoning) reasoningTokens += piece.ids.length
      yield* parts.add(message.push(piece) ?? {}, piece.logprobs)
      continue
    }
    const { whole } = event
    const { delta, finishReason } = message.end(whole)
    yield* parts.add(delta)
    yield* parts.end(finishReason === 'length')
    yield { event: 'finish', finishReason, whole, reasoningTokens }
  }
}
