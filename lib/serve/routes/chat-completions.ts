/** `POST /v1/chat/completions`: the next message of a conversation. */
import { randomUUID } from 'node:crypto'
import type { GenerateResult } from '../../generate/index.js'
import { readBody } from '../body.js'
import { type ChatMessage, wholeMessage } from '../chat-deltas.js'
import { ChatBody, type ChatCompletionRequest } from '../chat-fields.js'
import { eventStream } from '../event-stream.js'
import { parseFields, wrongField } from '../fields.js'
import { chatLogProbs } from '../logprobs.js'
import { textsOfChat } from '../requested-chat.js'
import { requireStream } from '../sampling.js'
import type { Serving } from '../serving.js'
import { refuseUnsupported, unsupportedOfChats } from '../unsupported.js'
import { type TextEvent, usageOf, wholeTexts, writeTexts } from '../write-texts.js'

export async function chatCompletions(request: Request, serving: Serving): Promise<Response> {
  const given = await readBody(request, serving.maxBodyBytes)
  refuseUnsupported(given, unsupportedOfChats)
  const body = parseFields(ChatBody, given)
  refuseUnsupported(given, { best_of: { neutral: [body.n], instead: 'ask for n texts' } })
  requireStream(body)
  const { engine } = serving
  const { n } = body
  if (body.top_logprobs !== undefined && !body.logprobs)
    throw wrongField('top_logprobs', 'The parameter top_logprobs needs logprobs.')
  const chat = { ...body, max_tokens: body.max_completion_tokens ?? body.max_tokens }
  const { texts, newMessage } = await textsOfChat(chat, serving)
  const active = await serving.requests.admit(body.model, n, request)
  try {
    const response = new ChatResponse(body, active.used.model, newMessage)
    if (body.stream)
      return await eventStream(response.events(writeTexts(engine, texts, active)), active, serving.onError)
    const wholes = await wholeTexts(engine, texts, active)
    return Response.json({
      ...response.head('chat.completion'),
      choices: wholes.map(response.choice),
      usage: usageOf(wholes, n),
    })
  } catch (error) {
    active.end()
    throw error
  }
}

class ChatResponse {
  readonly #id = `chatcmpl-${randomUUID()}`
  readonly #created = Math.floor(Date.now() / 1000)

  constructor(
    readonly body: ChatCompletionRequest,
    readonly model: string,
    readonly newMessage: () => ChatMessage,
  ) {}

  head(object: string): object {
    return { id: this.#id, object, created: this.#created, model: this.model }
  }

  readonly choice = (whole: GenerateResult, index: number): object => {
    const { message, finishReason } = wholeMessage(this.newMessage(), whole)
    return { index, message, logprobs: chatLogProbs(whole.logprobs), finish_reason: finishReason }
  }

  async *events(texts: AsyncIterable<TextEvent>): AsyncGenerator<object> {
    const withUsage = this.body.stream_options?.include_usage === true
    const head = { ...this.head('chat.completion.chunk'), ...(withUsage && { usage: null }) }
    const chunk = (index: number, delta: object, more: object = {}) => ({
      ...head,
      choices: [{ index, delta, logprobs: null, finish_reason: null, ...more }],
    })
    const messages: ChatMessage[] = []
    const wholes: GenerateResult[] = []
    for await (const event of texts) {
      if ('prompt' in event) continue
      const { index } = event
      if (!messages[index]) yield chunk(index, { role: 'assistant', content: '' })
      messages[index] ??= this.newMessage()
      if ('whole' in event) {
        wholes[index] = event.whole
        const { delta, finishReason } = messages[index].end(event.whole)
        if (Object.keys(delta).length > 0) yield chunk(index, delta)
        yield chunk(index, {}, { finish_reason: finishReason })
        continue
      }
      const { piece } = event
      const delta = messages[index].push(piece)
      if (delta || piece.logprobs?.length) yield chunk(index, delta ?? {}, { logprobs: chatLogProbs(piece.logprobs) })
    }
    if (withUsage) yield { ...head, choices: [], usage: usageOf(wholes, this.body.n) }
  }
}
