/** The prompt and the tools of a logged request. */
import { isJsonObject, type JsonObject } from '../../io/json.js'
import { isEmpty, isListOfObjects, type LoggedCall, type LoggedPart, type Reader, unquoted, within } from './call.js'
import { areItems, messagesOfItems } from './responses.js'

type Asked = Pick<LoggedCall, 'prompt' | 'tools'>

/** Returns the prompt and the tools of a request, of its messages, or of JSON of either. */
export function askedOf(given: unknown, at: string, reader: Reader): Asked {
  const value = unquoted(given, reader)
  if (!isJsonObject(value)) return ofMessages(value, at, reader)
  const key = ['messages', 'input'].find((name) => Array.isArray(value[name]))
  if (key === undefined) return { prompt: { at, value } }
  const { prompt, tools } = ofMessages(value[key], within(at, key), reader)
  return { prompt: withSystem(prompt, value), tools: toolsIn(value, at, reader) ?? tools }
}

function ofMessages(given: unknown, at: string, { where }: Reader): Asked {
  // LangChain logs a list for each prompt of a batch.
  const value: unknown = Array.isArray(given) && given.length === 1 && Array.isArray(given[0]) ? given[0] : given
  if (areItems(value)) return { prompt: { at, value: messagesOfItems(value, at, where) } }
  if (!isListOfObjects(value)) return { prompt: { at, value } }
  // Langfuse logs LangChain's tools as messages.
  const tools = value.filter(isTool).map(({ content }) => content)
  return { prompt: { at, value: value.filter((message) => !isTool(message)) }, tools: toolsPart(tools, `${at}.tools`) }
}

const isTool = ({ role, content }: JsonObject): boolean =>
  role === 'tool' && isJsonObject(content) && isJsonObject(content.function)

/** Returns a prompt after the instructions that a request has beside its messages, as Anthropic's and OpenAI's Responses have. */
function withSystem({ at, value }: LoggedPart, { system, instructions = system }: JsonObject): LoggedPart {
  if (isEmpty(instructions) || !Array.isArray(value)) return { at, value }
  return { at, value: [{ role: 'system', content: instructions }, ...(value as unknown[])] }
}

/** Returns the tools of a request, also in OpenAI's older form; undefined if there are none. */
export function toolsIn({ tools, functions }: JsonObject, at: string, { parse }: Reader): LoggedPart | undefined {
  const key = isEmpty(tools) ? 'functions' : 'tools'
  const list = key === 'tools' ? tools : functions
  if (isEmpty(list)) return undefined
  // What is no list is refused where tools are read.
  if (!Array.isArray(list)) return { at: within(at, key), value: list }
  return toolsPart(
    list.map((tool: unknown) => (typeof tool === 'string' ? parse(tool) : tool)),
    within(at, key),
  )
}

/**
 * Returns tools as OpenAI's chats have them, also those of Responses, Anthropic, OpenTelemetry and the AI SDK; undefined if there are
 * none.
 */
export function toolsPart(tools: readonly unknown[], at: string): LoggedPart | undefined {
  return tools.length === 0 ? undefined : { at, value: tools.map(toolOf) }
}

function toolOf(tool: unknown): unknown {
  if (!isJsonObject(tool) || 'function' in tool || typeof tool.name !== 'string') return tool
  const { name, description, input_schema, inputSchema = input_schema, parameters = inputSchema } = tool
  const known = Object.entries({ description, parameters }).filter(([, value]) => !isEmpty(value))
  return { type: 'function', function: { name, ...Object.fromEntries(known) } }
}
