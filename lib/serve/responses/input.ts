/** The items of a response's input, and the messages that they make up. */
import { z } from 'zod'
import { anyText, aText, isObject } from '../../common/arguments.js'
import { JoinedTurns } from '../../text/tool-calls/joined-turns.js'
import { type ChatCompletionRequest, contentField, MESSAGES } from '../chat-fields.js'
import { listField, wordField, wrongField } from '../fields.js'
import { calledName } from './tools.js'

type ChatMessages = ChatCompletionRequest['messages']
type Turn = ChatMessages[number]

const part = z.preprocess(
  (given) => (isObject(given) && given.type === 'refusal' ? { type: 'output_text', text: given.refusal } : given),
  z.looseObject(
    {
      type: z.enum(['input_text', 'output_text', 'text', 'summary_text', 'reasoning_text'], {
        error: 'input_text or output_text, the only types of content that are supported,',
      }),
      text: anyText,
    },
    { error: 'an object with type and text' },
  ),
)

const textOrParts = contentField(part)
const content = textOrParts.refine((given) => given !== null, { error: 'a text or a list of parts' })

const ITEM_TYPES = ['message', 'function_call', 'function_call_output', 'reasoning', 'item_reference'] as const

const item = z.discriminatedUnion(
  'type',
  [
    z.looseObject({
      type: z.literal('message'),
      role: wordField(['system', 'developer', 'user', 'assistant']),
      content,
    }),
    z.looseObject({
      type: z.literal('function_call'),
      call_id: aText,
      name: aText,
      namespace: anyText.nullish(),
      arguments: z.string({ error: 'a text of JSON' }),
    }),
    z.looseObject({ type: z.literal('function_call_output'), call_id: aText, output: content }),
    z.looseObject({
      type: z.literal('reasoning'),
      summary: textOrParts.nullish(),
      content: textOrParts.nullish(),
      encrypted_content: anyText.nullish(),
    }),
    z.looseObject({ type: z.literal('item_reference'), id: aText }),
  ],
  {
    error: ({ code }) =>
      code === 'invalid_union' ? `one of ${ITEM_TYPES.join(', ')}` : 'an item, an object with type,',
  },
)

/** Clients leave out the type of messages, and may leave out that of references. */
const typedItem = z.preprocess(
  (given) =>
    isObject(given) && (given.type ?? null) === null
      ? { ...given, type: 'role' in given ? 'message' : 'item_reference' }
      : given,
  item,
)

const items = listField(typedItem, `a text or a list of 1 to ${MESSAGES} items`, { least: 1, most: MESSAGES })

/** Not a union, so that errors say which item is wrong. */
export const inputField = z.custom<unknown>().transform((given, context) => {
  if (typeof given === 'string') return [{ type: 'message' as const, role: 'user' as const, content: given }]
  const { success, data, error } = items.safeParse(given)
  if (success) return data
  const { message, path } = error.issues[0]!
  context.addIssue({ code: 'custom', message, path: [...path] })
  return z.NEVER
})

export type InputItem = z.output<typeof item>

/**
 * Returns items with stored ones in the places of references.
 * @param find returns the JSON of a stored item @throws ApiError 400 for an item that is not stored
 */
export function resolveReferences(items: readonly InputItem[], find: (id: string) => string | undefined): InputItem[] {
  return items.map((item, index) => {
    if (item.type !== 'item_reference') return item
    const json = find(item.id)
    if (json !== undefined) return JSON.parse(json) as InputItem
    throw wrongField(
      `input[${index}]`,
      `The server has no item ${JSON.stringify(item.id)}: it keeps the last ones only, until it ends; set store: false, with which clients send items whole.`,
    )
  })
}

/** Begins the encrypted content of reasoning, which is the reasoning itself in base64: it is nobody's secret. */
const ENCRYPTED = 'mora:'

export const encryptedOf = (reasoning: string): string => ENCRYPTED + Buffer.from(reasoning).toString('base64')

type Content = z.output<typeof textOrParts>

const textOf = (given: Content | undefined): string =>
  typeof given === 'string' ? given : (given ?? []).map(({ text }) => text).join('')

function reasoningOf({ summary, content, encrypted_content: encrypted }: InputItem & { type: 'reasoning' }): string {
  const own = encrypted?.startsWith(ENCRYPTED)
    ? Buffer.from(encrypted.slice(ENCRYPTED.length), 'base64').toString()
    : ''
  return textOf(content) || own || textOf(summary)
}

/** Returns messages for a chat template. */
export function messagesOfInput(items: readonly InputItem[]): ChatMessages {
  const turns = new JoinedTurns<string, NonNullable<Turn['tool_calls']>[number], Turn>()
  const names = new Map<string, string>()
  for (const one of items) {
    if (one.type === 'reasoning') turns.think(reasoningOf(one))
    else if (one.type === 'function_call') {
      const { call_id: id, arguments: json } = one
      const name = calledName(one.name, one.namespace)
      names.set(id, name)
      turns.call({ id, type: 'function', function: { name, arguments: json } })
    } else if (one.type === 'function_call_output') {
      const name = names.get(one.call_id)
      turns.add({ role: 'tool', tool_call_id: one.call_id, ...(name && { name }), content: textOf(one.output) })
    } else if (one.type === 'message') {
      if (one.role === 'assistant') turns.say(textOf(one.content))
      else turns.add({ role: one.role, content: chatContentOf(one.content) })
    }
  }
  return turns.messages.map((message) => ({
    ...message,
    ...(!message.tool_calls && { content: message.content ?? '' }),
  }))
}

function chatContentOf(given: Content): Turn['content'] {
  if (typeof given === 'string') return given
  if (given?.length === 1) return given[0]!.text
  return given?.map(({ text }) => ({ type: 'text' as const, text }))
}
