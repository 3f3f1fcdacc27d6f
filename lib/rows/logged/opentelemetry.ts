/**
 * Spans of OpenTelemetry's GenAI semantic conventions (1.37 and later: `gen_ai.input.messages`, `gen_ai.output.messages`,
 * `gen_ai.system_instructions`, `gen_ai.tool.definitions`), of OpenLLMetry before them (`gen_ai.prompt.N.role`,
 * `gen_ai.completion.N.content`, `llm.request.functions.N.name`), and of the AI SDK (ai 4 to 6, `ai.prompt.messages`,
 * `ai.response.text`, `ai.response.toolCalls`). Attributes are an object, OTLP's list of keys and values, or the columns of the row.
 */
import { isJsonObject, type JsonObject } from '../../io/json.js'
import { asAnswer, onlyOne } from './answer.js'
import { isEmpty, isListOfObjects, loggedForm, noAnswer, type Reader, type WhyLeftOut, within } from './call.js'
import { toolsPart } from './request.js'

/** Columns of spans, or of their context, by which attributes are known to be theirs. */
const OF_SPANS = ['spanId', 'span_id', 'traceId', 'trace_id']

const isSpan = ({ context, ...row }: JsonObject): boolean =>
  OF_SPANS.some((name) => name in row || (isJsonObject(context) && name in context))

const hasModel = (attributes: JsonObject) => Object.keys(attributes).some((name) => name.startsWith('gen_ai.'))

function attributesOf(row: JsonObject): JsonObject {
  const { attributes } = row
  if (isJsonObject(attributes)) return attributes
  if (!isListOfObjects(attributes)) return row
  return Object.fromEntries(attributes.map(({ key, value }) => [String(key), otlpValue(value)]))
}

/** Returns a value of OTLP's JSON. */
function otlpValue(value: unknown): unknown {
  if (!isJsonObject(value)) return value
  const { arrayValue: list, kvlistValue: entries, intValue: whole, ...others } = value
  const valuesIn = (one: unknown) => (isJsonObject(one) && Array.isArray(one.values) ? (one.values as unknown[]) : [])
  if (list !== undefined) return valuesIn(list).map(otlpValue)
  // JSON of Protocol Buffers writes 64-bit integers as texts.
  if (typeof whole === 'string' && /^-?\d+$/.test(whole))
    return Number.isSafeInteger(Number(whole)) ? Number(whole) : BigInt(whole)
  if (entries === undefined) return whole ?? Object.values(others)[0]
  return Object.fromEntries(
    valuesIn(entries).flatMap((one) => (isJsonObject(one) ? [[String(one.key), otlpValue(one.value)]] : [])),
  )
}

/** Returns the objects of attributes with an index: `gen_ai.prompt.0.role` is `role` of the first under `gen_ai.prompt`. */
function indexed(attributes: JsonObject, name: string): JsonObject[] {
  const found = new Map<number, [string, unknown][]>()
  for (const [key, value] of Object.entries(attributes)) {
    const [, index, field] = (key.startsWith(`${name}.`) && /^(\d+)\.(.+)$/.exec(key.slice(name.length + 1))) || []
    if (index === undefined) continue
    const fields = found.get(Number(index)) ?? []
    fields.push([field!, value])
    found.set(Number(index), fields)
  }
  return [...found].sort(([a], [b]) => a - b).map(([, fields]) => Object.fromEntries(fields))
}

/** Returns a list that a span may have as JSON. */
function listIn(value: unknown, { parse }: Reader): unknown[] {
  const list = typeof value === 'string' && /^\s*\[/.test(value) ? parse(value) : value
  return Array.isArray(list) ? list : []
}

/** Returns a message of OpenLLMetry's; a content in parts is JSON there. */
function flatMessage(fields: JsonObject, reader: Reader): JsonObject {
  const { role, content, tool_call_id, finish_reason } = fields
  const parts = listIn(content, reader)
  const areParts = isListOfObjects(parts) && parts.every(({ type }) => typeof type === 'string')
  const calls = indexed(fields, 'tool_calls').map(({ id, ...call }) => ({ id, type: 'function', function: call }))
  return {
    role,
    content: areParts ? parts : content,
    ...(calls.length > 0 && { tool_calls: calls }),
    ...(tool_call_id !== undefined && { tool_call_id }),
    ...(finish_reason !== undefined && { finish_reason }),
  }
}

/** A call in one convention, with the names of its attributes. */
interface Told {
  names: readonly [prompt: string, answer: string, tools: string]
  asked: unknown[]
  answers: unknown[]
  tools: unknown[]
}

const GEN_AI = ['gen_ai.input.messages', 'gen_ai.output.messages', 'gen_ai.tool.definitions'] as const

function inGenAi(attributes: JsonObject, reader: Reader): Told {
  const [asked, answers, tools] = GEN_AI.map((name) => listIn(attributes[name], reader))
  const instructions = attributes['gen_ai.system_instructions']
  const parts = listIn(instructions, reader)
  const system = { role: 'system', ...(parts.length > 0 ? { parts } : { content: instructions }) }
  return {
    names: GEN_AI,
    asked: isEmpty(instructions) ? asked! : [system, ...asked!],
    answers: answers!,
    tools: tools!,
  }
}

const OPEN_LLMETRY = ['gen_ai.prompt', 'gen_ai.completion', 'llm.request.functions'] as const

function inOpenLlmetry(attributes: JsonObject, reader: Reader): Told {
  const [asked, answers, tools] = OPEN_LLMETRY.map((name) => indexed(attributes, name))
  return {
    names: OPEN_LLMETRY,
    asked: asked!.map((one) => flatMessage(one, reader)),
    answers: answers!.map((one) => flatMessage(one, reader)),
    tools: tools!.map(({ parameters, input_schema: schema = parameters, ...tool }) => ({
      ...tool,
      parameters: typeof schema === 'string' ? reader.parse(schema) : schema,
    })),
  }
}

const AI_SDK = ['ai.prompt.messages', 'ai.response', 'ai.prompt.tools'] as const

function inAiSdk(attributes: JsonObject, reader: Reader): Told {
  const [prompt, response, definitions] = AI_SDK
  const { text, object, toolCalls, reasoning, finishReason } = Object.fromEntries(
    ['text', 'object', 'toolCalls', 'reasoning', 'finishReason'].map((key) => [key, attributes[within(response, key)]]),
  )
  const calls = listIn(toolCalls, reader)
    .filter(isJsonObject)
    .map(({ toolCallId: id, toolName: name, args, input = args }) => ({
      id,
      type: 'function',
      function: { name, arguments: input },
    }))
  const answer = {
    role: 'assistant',
    content: text ?? object ?? '',
    ...(calls.length > 0 && { tool_calls: calls }),
    ...(!isEmpty(reasoning) && { reasoning_content: reasoning }),
    finish_reason: finishReason,
  }
  const tools = listIn(attributes[definitions], reader)
  return {
    names: AI_SDK,
    asked: listIn(attributes[prompt], reader),
    answers: [answer],
    tools: tools.map((tool) => (typeof tool === 'string' ? reader.parse(tool) : tool)),
  }
}

function toldBy(attributes: JsonObject, reader: Reader): Told {
  if (AI_SDK[0] in attributes) return inAiSdk(attributes, reader)
  return GEN_AI.some((name) => name in attributes) ? inGenAi(attributes, reader) : inOpenLlmetry(attributes, reader)
}

/** Returns why a span is no call that was answered; undefined if it is one. */
function whyNoCall({ status, attributes: _, ...row }: JsonObject, attributes: JsonObject): WhyLeftOut | undefined {
  const operation = attributes['gen_ai.operation.name'] ?? 'chat'
  if (!hasModel(attributes) || !['chat', 'text_completion', 'generate_content'].includes(String(operation)))
    return 'others'
  const code = isJsonObject(status) ? (status.code ?? status.status_code) : (status ?? row.status_code)
  const hasFailed = [2, 'ERROR', 'STATUS_CODE_ERROR'].includes(code as number) || attributes['error.type'] !== undefined
  return hasFailed ? 'failed' : undefined
}

export const openTelemetry = loggedForm(
  'opentelemetry',
  'spans of OpenTelemetry (GenAI), OpenLLMetry and the AI SDK',
  { prompt: [GEN_AI[0]], completion: [GEN_AI[1]] },
  {
    fits(row) {
      const attributes = attributesOf(row)
      return hasModel(attributes) || (attributes !== row && isSpan(row))
    },
    call(row, reader) {
      const attributes = attributesOf(row)
      const { names, asked, answers, tools } = toldBy(attributes, reader)
      const [prompt, answer, definitions] = names.map((name) => within(attributes === row ? '' : 'attributes', name))
      const leftOut = whyNoCall(row, attributes)
      return {
        prompt: { at: prompt!, value: asked },
        tools: toolsPart(tools, definitions!),
        ...(leftOut ? noAnswer(answer!, leftOut) : asAnswer(onlyOne(answers, answer!, reader))),
      }
    },
  },
)
