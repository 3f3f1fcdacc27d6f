/** The body of a request for a message in Anthropic's form, and its translation into a chat. */
import { z } from 'zod'
import { aFlag, anObject, anyText, aText, wholeFrom } from '../../common/arguments.js'
import { contentField, functionName, MESSAGES, templateOptionsField, textPart, toolsOf } from '../chat-fields.js'
import { listField, wordField } from '../fields.js'
import type { ChatParams, RequestedChat } from '../requested-chat.js'
import { samplingFields } from '../sampling.js'

/** Maximum number of stop sequences. */
const STOPS = 16

const texts = contentField(textPart)

const BLOCK_TYPES = ['text', 'thinking', 'redacted_thinking', 'tool_use', 'tool_result'] as const

const block = z.discriminatedUnion(
  'type',
  [
    textPart,
    z.looseObject({ type: z.literal('thinking'), thinking: anyText }),
    z.looseObject({ type: z.literal('redacted_thinking') }),
    z.looseObject({ type: z.literal('tool_use'), id: aText, name: aText, input: anObject }),
    z.looseObject({ type: z.literal('tool_result'), tool_use_id: aText, content: texts.nullish() }),
  ],
  { error: ({ code }) => (code === 'invalid_union' ? `one of ${BLOCK_TYPES.join(', ')}` : 'an object with type') },
)

const message = z.looseObject(
  {
    role: wordField(['user', 'assistant']),
    content: contentField(block).refine((given) => given !== null, { error: 'a text or a list of blocks' }),
  },
  { error: 'a message, an object with role and content' },
)

const messages = listField(message, `a list of 1 to ${MESSAGES} messages`, { least: 1, most: MESSAGES }).superRefine(
  (given, context) => {
    const { role, content } = given.at(-1)!
    if (role === 'user' || typeof content === 'string' || !content) return
    const at = content.findIndex(({ type }) => type !== 'text')
    if (at < 0) return
    const error = 'text, the only type of a block in a message that the answer continues,'
    context.addIssue({ code: 'custom', message: error, path: [given.length - 1, 'content', at, 'type'] })
  },
)

const tool = z.looseObject(
  {
    type: z.literal('custom', { error: 'custom, the only type of tool that is supported,' }).nullish(),
    name: functionName,
    description: anyText.nullish(),
    input_schema: anObject,
  },
  { error: 'a tool, an object with name and input_schema' },
)

const toolChoice = z.discriminatedUnion(
  'type',
  [
    z.looseObject({ type: z.enum(['auto', 'any', 'none']), disable_parallel_tool_use: aFlag.nullish() }),
    z.looseObject({ type: z.literal('tool'), name: aText, disable_parallel_tool_use: aFlag.nullish() }),
  ],
  { error: ({ code }) => (code === 'invalid_union' ? 'one of auto, any, tool, none' : 'an object with type') },
)

const { stream_options: _, stop: __, n: ___, ...sampling } = samplingFields

const countFields = {
  model: anyText.optional(),
  messages,
  system: texts.optional(),
  tools: toolsOf(tool).default([]),
  tool_choice: toolChoice.default({ type: 'auto' }),
  thinking: z
    .looseObject({ type: wordField(['enabled', 'adaptive', 'disabled']) }, { error: 'an object with type' })
    .optional(),
  output_config: z
    .looseObject(
      {
        effort: anyText.nullish(),
        format: z
          .looseObject(
            { type: z.literal('json_schema', { error: 'json_schema' }), schema: anObject },
            { error: 'an object with type and schema' },
          )
          .nullish(),
      },
      { error: 'an object with effort and format' },
    )
    .default({}),
  chat_template_kwargs: templateOptionsField.default({}),
}

export const MessageBody = z.looseObject({
  ...sampling,
  ...countFields,
  max_tokens: wholeFrom(1),
  stop_sequences: listField(aText, `a list of at most ${STOPS} non-empty texts`, { most: STOPS }).default([]),
})
type MessageRequest = z.output<typeof MessageBody>

export const CountBody = z.looseObject(countFields)

type Turn = RequestedChat['messages'][number]

const textOf = (given: z.output<typeof texts> | undefined, separator = ''): string =>
  typeof given === 'string' ? given : (given ?? []).map(({ text }) => text).join(separator)

/** Returns what a body says of the conversation, as a chat has it. */
export function conversationOfMessages(body: z.output<typeof CountBody>) {
  const { system, messages: given, tools, tool_choice: choice, thinking, output_config: output } = body
  const format = output.format
  const turns = given.flatMap(turnsOf)
  const last = turns.at(-1)
  // An empty message of the assistant is only the beginning of its turn.
  if (last?.role === 'assistant' && last.content === '') turns.pop()
  return {
    messages: [...(system ? [{ role: 'system' as const, content: textOf(system, '\n') }] : []), ...turns],
    continue_final_message: turns.at(-1)?.role === 'assistant',
    tools: tools.map(({ name, description, input_schema: parameters }) => ({
      type: 'function' as const,
      function: { name, ...(description && { description }), parameters },
    })),
    tool_choice: chatChoiceOf(choice),
    parallel_tool_calls: !choice.disable_parallel_tool_use,
    response_format: format
      ? { type: format.type, json_schema: { schema: format.schema } }
      : ({ type: 'text' } as const),
    chat_template_kwargs: {
      ...(thinking && { enable_thinking: thinking.type !== 'disabled' }),
      ...body.chat_template_kwargs,
    },
    reasoning_effort: output.effort ?? undefined,
  } satisfies Partial<RequestedChat>
}

/** Names of the parameters of a chat. */
export const OF_MESSAGES: ChatParams = { messages: 'messages', format: 'output_config.format' }

export function chatOfMessages(body: MessageRequest): RequestedChat {
  return { ...body, ...conversationOfMessages(body), n: 1, stop: body.stop_sequences, logprobs: false }
}

function chatChoiceOf(choice: z.output<typeof toolChoice>): RequestedChat['tool_choice'] {
  if (choice.type === 'tool') return { type: 'function', function: { name: choice.name } }
  return choice.type === 'any' ? 'required' : choice.type
}

/** Returns the turns of a message: results of tools are turns of their own. */
function turnsOf({ role, content }: z.output<typeof message>): Turn[] {
  if (typeof content === 'string') return [{ role, content }]
  const blocks = content ?? []
  if (role === 'assistant') return [assistantTurn(blocks)]
  const turns: Turn[] = []
  for (const block of blocks) {
    if (block.type === 'tool_result')
      turns.push({ role: 'tool', tool_call_id: block.tool_use_id, content: textOf(block.content ?? '') })
    else if (block.type === 'text') {
      const last = turns.at(-1)
      const part = { type: 'text' as const, text: block.text }
      if (Array.isArray(last?.content)) last.content.push(part)
      else turns.push({ role, content: [part] })
    }
  }
  return turns.map((turn) => {
    const [only, ...more] = Array.isArray(turn.content) ? turn.content : []
    return only && more.length === 0 ? { ...turn, content: only.text } : turn
  })
}

function assistantTurn(blocks: readonly z.output<typeof block>[]): Turn {
  let content = ''
  let reasoning = ''
  const calls: NonNullable<Turn['tool_calls']> = []
  for (const block of blocks) {
    if (block.type === 'text') content += block.text
    else if (block.type === 'thinking') reasoning += block.thinking
    else if (block.type === 'tool_use') {
      const { id, name, input } = block
      calls.push({ id, type: 'function', function: { name, arguments: JSON.stringify(input) } })
    }
  }
  return {
    role: 'assistant',
    content: content === '' && calls.length > 0 ? null : content,
    ...(reasoning && { reasoning_content: reasoning }),
    ...(calls.length > 0 && { tool_calls: calls }),
  }
}
