/** Reads the parts of a message's content in the forms of several APIs: reasoning, calls of functions and their results. */
import { isJsonObject, type JsonObject } from '../io/json.js'
import { json } from '../text/python/text.js'
import { toValue } from '../text/python/values.js'

const CALL = 'tool_call'
const RESULT = 'tool_result'

/** A message whose calls are parts `{ type: 'tool_call', name, arguments }`, and the texts of results, separately. */
interface PlainParts {
  message: Readonly<Record<string, unknown>>
  results: string[]
}

/**
 * Reads the parts of Anthropic, Azure, Bedrock, Vertex, the AI SDK (`ModelMessage`, ai 6) and OpenTelemetry (GenAI semantic
 * conventions 1.37 and later: `gen-ai-input-messages.json`, `gen-ai-output-messages.json`). Vertex and OpenTelemetry name them
 * `parts` instead of `content`.
 */
export function plainParts(message: Readonly<Record<string, unknown>>): PlainParts {
  const { parts, ...others } = message
  const content = Array.isArray(parts) && !('content' in message) ? parts : message.content
  if (!Array.isArray(content)) return { message, results: [] }
  const plain = content.map(plainPart)
  const isResult = (part: unknown) => isJsonObject(part) && part.type === RESULT
  return {
    message: { ...(content === parts ? others : message), content: plain.filter((part) => !isResult(part)) },
    results: plain.filter(isResult).map((part) => resultText((part as Record<string, unknown>)[RESULT])),
  }
}

function plainPart(part: unknown): unknown {
  if (!isJsonObject(part)) return part
  const { toolUse, functionCall, toolResult, functionResponse, reasoningContent } = part
  if (isJsonObject(toolUse)) return { type: CALL, name: toolUse.name, arguments: toolUse.input }
  if (isJsonObject(functionCall)) return { type: CALL, name: functionCall.name, arguments: functionCall.args }
  if (isJsonObject(reasoningContent)) return { type: 'thinking', thinking: textIn(reasoningContent.reasoningText) }
  if (part.thought === true) return { type: 'thinking', thinking: part.text }
  if (part.type === 'tool_use') return { type: CALL, name: part.name, arguments: part.input }
  if (isJsonObject(toolResult)) return { type: RESULT, [RESULT]: toolResult.content }
  if (isJsonObject(functionResponse)) return { type: RESULT, [RESULT]: functionResponse.response }
  if (part.type === RESULT) return { type: RESULT, [RESULT]: part[RESULT] ?? part.content }
  return telemetryPart(part) ?? sdkPart(part) ?? part
}

/** Returns a part of OpenTelemetry's; its calls are as they are read here. */
function telemetryPart({ type, content, response, result }: JsonObject): object | undefined {
  if (type === 'tool_call_response') return { type: RESULT, [RESULT]: response ?? result }
  if (typeof content !== 'string') return undefined
  if (type === 'text') return { type, text: content }
  return type === 'reasoning' ? { type, value: content } : undefined
}

/** Returns a part of the AI SDK's. */
function sdkPart({ type, text, toolName, input, args, output, result }: JsonObject): object | undefined {
  if (type === 'tool-call') return { type: CALL, name: toolName, arguments: input ?? args }
  if (type === 'tool-result')
    return { type: RESULT, [RESULT]: isJsonObject(output) ? output.value : (output ?? result) }
  return type === 'reasoning' && typeof text === 'string' ? { type, value: text } : undefined
}

const textIn = (value: unknown): unknown => (isJsonObject(value) ? value.text : value)

function resultText(value: unknown): string {
  if (typeof value === 'string') return value
  if (value === undefined || value === null) return ''
  const texts = Array.isArray(value) ? value.map(partText) : []
  return texts.length > 0 && texts.every((text) => text !== undefined) ? texts.join('\n') : json(toValue(value))
}

function partText(part: unknown): string | undefined {
  if (!isJsonObject(part)) return undefined
  if (typeof part.text === 'string') return part.text
  return part.json === undefined ? undefined : json(toValue(part.json))
}
