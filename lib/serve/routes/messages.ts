/** `POST /v1/messages` and `/v1/messages/count_tokens`: the next message of a conversation, and its tokens, in Anthropic's form. */
import { answerChat } from '../answer-chat.js'
import { readBody } from '../body.js'
import { clientOf } from '../clients.js'
import { parseFields } from '../fields.js'
import { CountBody, chatOfMessages, conversationOfMessages, MessageBody, OF_MESSAGES } from '../messages/body.js'
import { MessageWriter } from '../messages/writer.js'
import { tokensOfChat } from '../requested-chat.js'
import type { Serving } from '../serving.js'
import { refuseUnsupported, unsupportedOfMessages } from '../unsupported.js'

export async function messages(request: Request, serving: Serving): Promise<Response> {
  const given = await readBody(request, serving.maxBodyBytes)
  refuseUnsupported(given, unsupportedOfMessages)
  const chat = chatOfMessages(parseFields(MessageBody, given))
  return answerChat(request, serving, { chat, params: OF_MESSAGES }, (model) => new MessageWriter(model))
}

export async function countMessageTokens(request: Request, serving: Serving): Promise<Response> {
  const given = await readBody(request, serving.maxBodyBytes)
  refuseUnsupported(given, unsupportedOfMessages)
  const body = parseFields(CountBody, given)
  serving.adapters.require(body.model || serving.adapters.baseName, clientOf(request))
  const ids = await tokensOfChat(conversationOfMessages(body), serving, OF_MESSAGES, request.signal)
  return Response.json({ input_tokens: ids.length })
}
