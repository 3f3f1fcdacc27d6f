/** Answers a chat with one message, in the form of a route. */
import type { BegunPrompt, GenerateResult } from '../generate/index.js'
import type { ChatMessage } from './chat-deltas.js'
import { eventStream, type StreamForm } from './event-stream.js'
import { MessageParts, type PartEvent } from './message-parts.js'
import { type ChatParams, type RequestedChat, textsOfChat } from './requested-chat.js'
import type { Serving } from './serving.js'
import { type TextEvent, writeTexts } from './write-texts.js'

/** First the beginning with the prompt, then what happens to a part of the message, and last the end of the message. */
export type AnswerEvent =
  | { readonly event: 'begin'; readonly prompt: BegunPrompt }
  | PartEvent
  | {
      readonly event: 'finish'
      /** `stop`, `length` or `tool_calls`. */
      readonly finishReason: string
      readonly whole: GenerateResult
    }

/** Writes an answer in the form of a route. */
export interface AnswerWriter extends StreamForm {
  /** Yields the events of a stream. An error before the first has its own status. */
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
  for await (const event of texts) {
    if ('prompt' in event) yield { event: 'begin', prompt: event.prompt }
    else if ('piece' in event) {
      const { piece } = event
      yield* parts.add(message.push(piece) ?? {}, piece.logprobs)
    } else {
      const { whole } = event
      const { delta, finishReason } = message.end(whole)
      yield* parts.add(delta)
      yield* parts.end(finishReason === 'length')
      yield { event: 'finish', finishReason, whole }
    }
  }
}
