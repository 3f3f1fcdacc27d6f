/** Items of OpenAI's Responses (`openai` 6, `ResponseInputItem` and `ResponseOutputItem`) as messages. */
import { quoted } from '../../common/errors.js'
import { isJsonObject, type JsonObject } from '../../io/json.js'
import { JoinedTurns } from '../../text/tool-calls/joined-turns.js'
import { malformedRow } from '../check.js'
import { isListOfObjects } from './call.js'

const ITEMS = new Set<unknown>(['message', 'function_call', 'function_call_output', 'reasoning'])
const TEXTS = new Set<unknown>(['input_text', 'output_text', 'summary_text', 'reasoning_text'])

const isText = (part: unknown): part is JsonObject => isJsonObject(part) && TEXTS.has(part.type)

/** Tells whether a value is a list with items, which a list of messages has none of. */
export const areItems = (value: unknown): value is JsonObject[] =>
  isListOfObjects(value) &&
  value.some(({ type, content }) => ITEMS.has(type) || (Array.isArray(content) && content.some(isText)))

/** @throws InputError `malformed-row` for items of tools that the service runs */
export function messagesOfItems(items: readonly JsonObject[], at: string, where: string): JsonObject[] {
  const turns = new JoinedTurns<unknown, JsonObject, JsonObject>()
  for (const [i, { type = 'message', ...item }] of items.entries()) {
    const { call_id: id, role } = item
    if (type === 'reasoning') turns.think(textIn(item.content) || textIn(item.summary))
    else if (type === 'function_call') {
      const { name, arguments: given } = item
      turns.call({ id, type: 'function', function: { name, arguments: given } })
    } else if (type === 'function_call_output') {
      turns.add({ role: 'tool', tool_call_id: id, content: contentIn(item.output) })
    } else if (type !== 'message') {
      throw malformedRow(where, `${at}[${i}]: an item of type ${quoted(type)} cannot be trained`)
    } else if (role === 'assistant') turns.say(contentIn(item.content))
    else turns.add({ role: String(role), content: contentIn(item.content) })
  }
  return turns.messages.map((message) => ({ ...message }))
}

/** Returns texts as parts of chats; one alone is a text, and other parts remain as they are. */
function contentIn(content: unknown): unknown {
  if (!Array.isArray(content)) return content
  if (content.length === 1 && isText(content[0])) return content[0].text
  return content.map((part: unknown) => (isText(part) ? { type: 'text', text: part.text } : part))
}

const textIn = (parts: unknown): string =>
  Array.isArray(parts) ? parts.flatMap((part: unknown) => (isText(part) ? String(part.text) : [])).join('\n') : ''
