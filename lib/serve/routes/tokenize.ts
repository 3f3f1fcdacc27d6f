/** `POST /tokenize` and `/detokenize`: the ids of a text or of a conversation, and the text of ids, as vLLM has them. */
import { z } from 'zod'
import { aFlag, anyText } from '../../common/arguments.js'
import { promptTemplate, promptTokens, requireTokenizer } from '../../generate/index.js'
import { readBody } from '../body.js'
import {
  endFields,
  endOf,
  messagesField,
  messagesFor,
  requireToolTemplate,
  templateOptionsField,
  toolsField,
} from '../chat-fields.js'
import { clientOf } from '../clients.js'
import { parseFields, wrongField } from '../fields.js'
import { idsField, requireIds } from '../prompts.js'
import type { Serving } from '../serving.js'
import { refuseUnsupported, unsupportedOfTokenize } from '../unsupported.js'

const TokenizeBody = z.looseObject({
  model: anyText.optional(),
  prompt: anyText.optional(),
  messages: messagesField.optional(),
  tools: toolsField.optional(),
  ...endFields,
  chat_template_kwargs: templateOptionsField.optional(),
  add_special_tokens: aFlag.default(true),
  return_token_strs: aFlag.default(false),
})

export async function tokenize(request: Request, serving: Serving): Promise<Response> {
  const given = await readBody(request, serving.maxBodyBytes)
  refuseUnsupported(given, unsupportedOfTokenize)
  const body = parseFields(TokenizeBody, given)
  const { model } = serving
  serving.adapters.require(body.model || serving.adapters.baseName, clientOf(request))
  const tokenizer = requireTokenizer(model)
  const { signal } = request
  const ids = await idsOfBody()
  return Response.json({
    count: ids.length,
    max_model_len: model.config.maxPositions,
    tokens: ids,
    ...(body.return_token_strs && { token_strs: ids.map((id) => tokenizer.tokenOf(id) ?? '') }),
  })

  async function idsOfBody(): Promise<number[]> {
    const { prompt, messages, tools, chat_template_kwargs: templateOptions } = body
    if ((prompt === undefined) === (messages === undefined)) {
      throw wrongField('prompt', 'Expected either prompt or messages.')
    }
    if (prompt !== undefined)
      return body.add_special_tokens ? tokenizer.encodeText(prompt, signal) : tokenizer.encode(prompt, signal)
    const template = await promptTemplate(model, serving)
    requireToolTemplate(tools, template)
    const conversation = { messages: messagesFor(messages!, template), tools, templateOptions, ...endOf(body) }
    return promptTokens(model, template, conversation, signal)
  }
}

const DetokenizeBody = z.looseObject({ model: anyText.optional(), tokens: idsField })

export async function detokenize(request: Request, serving: Serving): Promise<Response> {
  const { model: name, tokens } = parseFields(DetokenizeBody, await readBody(request, serving.maxBodyBytes))
  const { model } = serving
  serving.adapters.require(name || serving.adapters.baseName, clientOf(request))
  requireIds(tokens, 'tokens', model)
  return Response.json({ prompt: await requireTokenizer(model).decode(tokens) })
}
