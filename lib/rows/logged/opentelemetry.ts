/**
 * Spans of OpenTelemetry's GenAI semantic conventions (1.37 and later: `gen_ai.input.messages`, `gen_ai.output.messages`,
 * `gen_ai.system_instructions`, `gen_ai.tool.definitions`), and of OpenLLMetry before them (`gen_ai.prompt.N.role`,
 * `gen_ai.completion.N.content`, `llm.request.functions.N.name`). Attributes are an object, OTLP's list of keys and values, or the
 * columns of the row.
 */
import { isJsonObject, type JsonObject } from '../../io/json.js'
import {
  asAnswer,
  isEmpty,
  isListOfObjects,
  type LoggedCall,
  loggedForm,
  onlyOne,
  type Reader,
  toolsPart,
  within,
} from './call.js'

/** Columns of spans, by which attributes are known to be theirs. */
const OF_SPANS = ['spanId', 'span_id', 'traceId', 'trace_id', 'context']

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
    found.set(Number(index), [...fields, [field!, value]])
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

const [INPUT, OUTPUT, TOOLS] = ['gen_ai.input.messages', 'gen_ai.output.messages', 'gen_ai.tool.definitions']
const [FLAT_INPUT, FLAT_OUTPUT, FLAT_TOOLS] = ['gen_ai.prompt', 'gen_ai.completion', 'llm.request.functions']

/** Returns a call. @param at the place of the attributes */
function callOf(attributes: JsonObject, at: string, reader: Reader): LoggedCall {
  const given = (name: string) => listIn(attributes[name], reader)
  const told = (names: readonly [string, string, string], ...[asked, answers, tools]: unknown[][]) => {
    const [input, output, definitions] = names.map((name) => within(at, name)) as [string, string, string]
    return {
      prompt: { at: input, value: asked },
      tools: toolsPart(tools!, definitions),
      ...asAnswer(onlyOne(answers!, output, reader)),
    }
  }
  const [asked, answers] = [given(INPUT), given(OUTPUT)]
  if (asked.length + answers.length === 0) {
    const flat = [FLAT_INPUT, FLAT_OUTPUT].map((name) =>
      indexed(attributes, name).map((one) => flatMessage(one, reader)),
    )
    const tools = indexed(attributes, FLAT_TOOLS).map(({ parameters, input_schema: schema = parameters, ...tool }) => ({
      ...tool,
      parameters: typeof schema === 'string' ? reader.parse(schema) : schema,
    }))
    return told([FLAT_INPUT, FLAT_OUTPUT, FLAT_TOOLS], ...flat, tools)
  }
  const instructions = attributes['gen_ai.system_instructions']
  const parts = listIn(instructions, reader)
  const system = { role: 'system', ...(parts.length > 0 ? { parts } : { content: instructions }) }
  return told([INPUT, OUTPUT, TOOLS], isEmpty(instructions) ? asked : [system, ...asked], answers, given(TOOLS))
}

const isError = (code: unknown) => code === 2 || code === 'ERROR' || code === 'STATUS_CODE_ERROR'

export const openTelemetry = loggedForm(
  'opentelemetry',
  'spans of OpenTelemetry (GenAI) and OpenLLMetry',
  { prompt: [INPUT], completion: [OUTPUT] },
  {
    fits(row) {
      const attributes = attributesOf(row)
      return hasModel(attributes) || (attributes !== row && OF_SPANS.some((name) => name in row))
    },
    call(row, reader) {
      const attributes = attributesOf(row)
      const call = callOf(attributes, attributes === row ? '' : 'attributes', reader)
      const operation = attributes['gen_ai.operation.name'] ?? 'chat'
      const isCall = hasModel(attributes) && ['chat', 'text_completion', 'generate_content'].includes(String(operation))
      const { status } = row
      const code = isJsonObject(status) ? (status.code ?? status.status_code) : status
      const hasFailed = attributes['error.type'] !== undefined || isError(code)
      return { ...call, leftOut: isCall ? (hasFailed ? 'failed' : call.leftOut) : 'others' }
    },
  },
)
