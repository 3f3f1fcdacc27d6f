/** The body of a request for a response, and its translation into a chat. */
import { z } from 'zod'
import { aFlag, anObject, anyText, wholeBetween } from '../../common/arguments.js'
import { allowedTools, templateOptionsField, toolsOf } from '../chat-fields.js'
import { eitherOf, listField, wordField, wrongField } from '../fields.js'
import type { ChatParams, RequestedChat } from '../requested-chat.js'
import { limitField, samplingFields } from '../sampling.js'
import { type InputItem, inputField, messagesOfInput } from './input.js'
import { chatTools, responseTool } from './tools.js'

/** The contents of a response that a client may ask for; those of hosted tools never occur. */
const INCLUDES = [
  'message.output_text.logprobs',
  'reasoning.encrypted_content',
  'file_search_call.results',
  'web_search_call.results',
  'web_search_call.action.sources',
  'message.input_image.image_url',
  'computer_call_output.output.image_url',
  'code_interpreter_call.outputs',
] as const

const namedFunction = z.looseObject({ type: z.literal('function'), name: z.string() })

const format = z.discriminatedUnion(
  'type',
  [
    z.looseObject({ type: z.literal('text') }),
    z.looseObject({ type: z.literal('json_object') }),
    z.looseObject({ type: z.literal('json_schema'), name: anyText.nullish(), schema: anObject }),
  ],
  { error: 'one of text, json_object, json_schema' },
)

const { stream_options: _, ...sampling } = samplingFields

export const ResponseBody = z.looseObject({
  ...sampling,
  input: inputField,
  instructions: anyText.optional(),
  max_output_tokens: limitField(1).optional(),
  top_logprobs: wholeBetween(0, 20).optional(),
  include: listField(wordField(INCLUDES), `a list of at most ${INCLUDES.length} of ${INCLUDES.join(', ')}`, {
    most: INCLUDES.length,
  }).default([]),
  tools: toolsOf(responseTool).default([]),
  tool_choice: eitherOf('auto, none, required, { type: function, name }, or { type: allowed_tools, mode, tools }', [
    z.enum(['auto', 'none', 'required']),
    namedFunction,
    allowedTools(namedFunction).extend({ type: z.literal('allowed_tools') }),
  ]).default('auto'),
  parallel_tool_calls: aFlag.default(true),
  text: z
    .looseObject({ format: format.nullish() }, { error: 'an object with format' })
    .default({ format: { type: 'text' } }),
  reasoning: z
    .looseObject(
      { effort: anyText.nullish(), summary: wordField(['auto', 'concise', 'detailed']).nullish() },
      { error: 'an object with effort and summary' },
    )
    .default({}),
  chat_template_kwargs: templateOptionsField.default({}),
  metadata: anObject.optional(),
  user: anyText.optional(),
  store: aFlag.default(true),
})
export type ResponseRequest = z.output<typeof ResponseBody>

/** @param items the items of the input, none of them a reference @throws ApiError 400 */
export function chatOfResponse(
  body: ResponseRequest,
  items: readonly InputItem[],
): { chat: RequestedChat; params: ChatParams } {
  const { instructions, tool_choice: choice, text, reasoning } = body
  const logprobs = body.include.includes('message.output_text.logprobs')
  if (body.top_logprobs && !logprobs) {
    throw wrongField('top_logprobs', 'The parameter top_logprobs needs message.output_text.logprobs in include.')
  }
  const chat = {
    ...body,
    messages: [
      ...(instructions === undefined ? [] : [{ role: 'developer' as const, content: instructions }]),
      ...messagesOfInput(items),
    ],
    max_tokens: body.max_output_tokens,
    logprobs,
    top_logprobs: body.top_logprobs,
    tools: chatTools(body.tools),
    tool_choice: chatChoiceOf(choice),
    response_format: chatFormatOf(text.format ?? { type: 'text' }),
    reasoning_effort: reasoning.effort ?? undefined,
  }
  return { chat, params: { messages: 'input', format: 'text.format' } }
}

function chatFormatOf(format: NonNullable<ResponseRequest['text']['format']>): RequestedChat['response_format'] {
  return format.type === 'json_schema' ? { type: format.type, json_schema: { schema: format.schema } } : format
}

function chatChoiceOf(choice: ResponseRequest['tool_choice']): RequestedChat['tool_choice'] {
  if (typeof choice === 'string') return choice
  const named = ({ type, name }: z.output<typeof namedFunction>) => ({ type, function: { name } })
  if (choice.type === 'function') return named(choice)
  return { type: choice.type, allowed_tools: { mode: choice.mode, tools: choice.tools.map(named) } }
}
