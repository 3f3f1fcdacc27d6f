/**
 * Messages as LangChain writes them (langchain-core 1.x, `langchain_core.messages` and `load.dump`), which LangSmith and Langfuse
 * record: `{ type: 'human', content }`, `{ type, data }` of `messages_to_dict`, and `{ lc, type: 'constructor', id, kwargs }` of
 * `dumpd`.
 */
import { isJsonObject, type JsonObject } from '../io/json.js'

/** Parts of a content that repeat what `tool_calls` says. */
const CALL_PARTS = new Set<unknown>(['tool_use', 'tool_call', 'input_json_delta', 'function_call'])

/** Returns the fields of a message, with those that say what became of it; undefined if it is not of LangChain's forms. */
export function langChainFields(message: JsonObject): JsonObject | undefined {
  const { id, kwargs, type, data } = message
  if ('role' in message || 'from' in message) return undefined
  const isDumped = isJsonObject(kwargs) && Array.isArray(id)
  const fields = isDumped ? kwargs : isJsonObject(data) ? data : message
  // The class of a dumped message ends its id: HumanMessage, AIMessageChunk.
  const speaker = isDumped ? id.at(-1) : type
  if (typeof speaker !== 'string' || !('content' in fields)) return undefined
  const role = speaker.replace(/Message(?:Chunk)?$/, '').toLowerCase()
  return { ...fields, role: role === 'chat' && typeof fields.role === 'string' ? fields.role : role }
}

/** Returns a message with `role`, and calls as OpenAI has them; any other message is returned as it is. */
export function ofLangChain(message: JsonObject): JsonObject {
  const fields = langChainFields(message)
  const given = (fields ?? message).tool_calls
  if (!fields) return isListOfCalls(given) ? { ...message, tool_calls: given.map(callOf) } : message
  const { role, content, name, tool_call_id, additional_kwargs, invalid_tool_calls } = fields
  const more = isJsonObject(additional_kwargs) ? additional_kwargs : {}
  const own = [given, invalid_tool_calls].flatMap((calls) => (isListOfCalls(calls) ? calls.map(callOf) : []))
  const calls = own.length > 0 ? own : more.tool_calls
  const hasCalls = Array.isArray(calls) && calls.length > 0
  const isCall = (part: unknown) => isJsonObject(part) && CALL_PARTS.has(part.type)
  const others = {
    name,
    tool_call_id,
    tool_calls: hasCalls ? calls : undefined,
    function_call: more.function_call,
    reasoning_content: more.reasoning_content,
  }
  return {
    role,
    content: hasCalls && Array.isArray(content) ? content.filter((part) => !isCall(part)) : content,
    ...Object.fromEntries(Object.entries(others).filter(([, value]) => value !== undefined && value !== null)),
  }
}

/** Tells whether calls have `name` and `args`. */
const isListOfCalls = (calls: unknown): calls is JsonObject[] =>
  Array.isArray(calls) && calls.length > 0 && calls.every((call) => isJsonObject(call) && 'args' in call)

const callOf = ({ id, name, args }: JsonObject) => ({
  ...(typeof id === 'string' && { id }),
  type: 'function',
  function: { name, arguments: args },
})
