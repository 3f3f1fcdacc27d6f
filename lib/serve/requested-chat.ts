/** A requested chat, whichever route it came by, and its texts. */
import { type GenerateOptions, promptTemplate, promptTokens } from '../generate/index.js'
import { ChatMessage } from './chat-deltas.js'
import {
  type ChatCompletionRequest,
  callingOf,
  contentSchemaOf,
  contentsOf,
  type endFields,
  endOf,
  messagesFor,
  requireToolTemplate,
} from './chat-fields.js'
import { requireRoom } from './prompts.js'
import { limitOf, type SamplingBody, samplingOf } from './sampling.js'
import type { Serving } from './serving.js'
import type { RequestedTexts } from './write-texts.js'

/** A chat by the names and in the forms of chat completions, into which other routes translate their bodies. */
export type RequestedChat = SamplingBody &
  Pick<
    ChatCompletionRequest,
    | ('messages' | 'tools' | 'tool_choice' | 'parallel_tool_calls' | 'response_format' | 'max_tokens')
    | ('logprobs' | 'top_logprobs' | 'chat_template_kwargs' | 'reasoning_effort')
  > &
  Partial<Pick<ChatCompletionRequest, keyof typeof endFields>>

/** Parameters that a route has under names of its own, for errors. */
export interface ChatParams {
  readonly messages: string
  readonly format: string
}

const OF_COMPLETIONS: ChatParams = { messages: 'messages', format: 'response_format' }

/** What a chat says of its conversation. */
type Conversation = Pick<
  RequestedChat,
  | ('messages' | 'tools' | 'tool_choice' | 'parallel_tool_calls' | 'response_format')
  | ('chat_template_kwargs' | 'reasoning_effort' | keyof typeof endFields)
>

/** @throws ApiError 400 for messages without room, and for tools that the template does not print */
async function conversationOf(body: Conversation, serving: Serving, params: ChatParams) {
  const { model } = serving
  requireRoom(contentsOf(body.messages), params.messages, model)
  const calling = callingOf(body)
  const { tools } = calling
  const template = await promptTemplate(model, serving)
  requireToolTemplate(tools, template)
  const conversation = {
    messages: messagesFor(body.messages, template),
    templateOptions: {
      ...(body.reasoning_effort !== undefined && { reasoning_effort: body.reasoning_effort }),
      ...body.chat_template_kwargs,
    },
    ...(tools.length > 0 && { tools }),
    ...endOf(body),
  }
  return { calling, template, conversation }
}

/** Returns the tokens of a chat's prompt. @throws ApiError 400 for what `textsOfChat` refuses in a conversation */
export async function tokensOfChat(
  body: Conversation,
  serving: Serving,
  params: ChatParams,
  signal: AbortSignal,
): Promise<readonly number[]> {
  const { template, conversation } = await conversationOf(body, serving, params)
  return promptTokens(serving.model, template, conversation, signal)
}

/**
 * Returns the texts of a chat, and what makes the message of each.
 * @throws ApiError 400 for messages without room, tools that the template does not print, and several constraints
 */
export async function textsOfChat(
  body: RequestedChat,
  serving: Serving,
  params = OF_COMPLETIONS,
): Promise<{ texts: RequestedTexts; newMessage: () => ChatMessage }> {
  const { model } = serving
  const { n, logprobs, top_logprobs: topLogprobs } = body
  const { calling, conversation } = await conversationOf(body, serving, params)
  const schema = contentSchemaOf(body, calling, params.format)
  const call: GenerateOptions = {
    ...samplingOf(body, model),
    template: serving.template,
    ...conversation,
    maxNewTokens: limitOf(body.max_tokens ?? serving.maxTokens, model),
    ...(logprobs && { logprobs, topLogprobs: topLogprobs ?? 0 }),
    ...(schema && { schema }),
  }
  // A text that fits a schema is all content: no reasoning or calls are separated from it.
  const calls = new Array<GenerateOptions>(n).fill({ ...call, parse: call.schema === undefined })
  const maxCalls = body.parallel_tool_calls ? Number.POSITIVE_INFINITY : 1
  return { texts: { calls, n }, newMessage: () => new ChatMessage(calling.forced, maxCalls) }
}
