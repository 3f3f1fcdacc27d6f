/** `POST /v1/responses`: the next items of a conversation that the client sends whole. */
import { answerChat } from '../answer-chat.js'
import { readBody } from '../body.js'
import { clientOf } from '../clients.js'
import { parseFields } from '../fields.js'
import { chatOfResponse, ResponseBody } from '../responses/body.js'
import { resolveReferences } from '../responses/input.js'
import { ResponseWriter } from '../responses/writer.js'
import type { Serving } from '../serving.js'
import { refuseUnsupported, unsupportedOfResponses } from '../unsupported.js'

export async function responses(request: Request, serving: Serving): Promise<Response> {
  const given = await readBody(request, serving.maxBodyBytes)
  refuseUnsupported(given, unsupportedOfResponses)
  const body = parseFields(ResponseBody, given)
  const client = clientOf(request)
  const items = resolveReferences(body.input, (id) => serving.items.find(client, id))
  const chat = chatOfResponse(body, items)
  const store: ResponseWriter['store'] = (output) => serving.items.add(client, output)
  return answerChat(request, serving, chat, (model) => new ResponseWriter(body, model, store))
}
