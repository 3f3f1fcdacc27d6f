/** A call of a model as a service logs it: where a record holds the prompt, its tools and the answer. */
import { isJsonObject, type JsonObject } from '../../io/json.js'
import { malformedRow } from '../check.js'
import type { RowForm } from '../forms.js'
import { langChainFields } from '../langchain.js'

/** Why a record is left out of training: its call failed, has no answer, has one that was cut, or it is no call of a model. */
export const WHY_LEFT_OUT = {
  failed: 'failed',
  unanswered: 'without an answer',
  unfinished: 'with an answer that a limit or a filter has cut',
  others: 'that are no calls of a model (spans, tools, chains)',
} as const
export type WhyLeftOut = keyof typeof WHY_LEFT_OUT

/** A value and its place in the record: `choices[0].message`. */
export interface LoggedPart {
  at: string
  value: unknown
}

export interface LoggedCall {
  /** A text, messages, or an object that holds one of them. */
  prompt: LoggedPart
  answer: LoggedPart
  tools?: LoggedPart | undefined
  /** Absent if the answer is trained. */
  leftOut?: WhyLeftOut | undefined
}

/** How a record is read. */
export interface Reader {
  /** The record's place, for errors. */
  where: string
  /** Parses JSON; undefined for another text. */
  parse: (text: string) => unknown
}

/** A form of logged calls. Its columns are for the docs: a call says where its parts are. */
export interface LoggedForm extends RowForm {
  fits(row: JsonObject): boolean
  /** @throws InputError `malformed-row` */
  call(row: JsonObject, reader: Reader): LoggedCall
}

export const loggedForm = (
  name: string,
  madeFor: string,
  columns: RowForm['columns'],
  read: Pick<LoggedForm, 'fits' | 'call'>,
): LoggedForm => ({ name, madeFor, use: 'the answer, with its end token', columns, ...read })

export const isListOfObjects = (value: unknown): value is JsonObject[] =>
  Array.isArray(value) && value.length > 0 && value.every(isJsonObject)

/** Returns the place of a key. */
export const within = (at: string, key: string): string => (at === '' ? key : `${at}.${key}`)

/** Tells whether a value is messages, or an object of a request or of an answer: JSON of anything else stays a text. */
function isOfCalls(value: unknown): boolean {
  const isMessage = (one: JsonObject) => 'role' in one || langChainFields(one) !== undefined
  if (Array.isArray(value)) return isListOfObjects(value.flat()) && value.flat().every(isMessage)
  return isJsonObject(value) && (isMessage(value) || ['messages', 'choices', 'generations'].some((key) => key in value))
}

/** Returns what a text of JSON holds, if it is messages, a request or an answer. */
function unquoted(value: unknown, { parse }: Reader): unknown {
  if (typeof value !== 'string' || !/^\s*[[{]/.test(value)) return value
  const parsed = parse(value)
  return isOfCalls(parsed) ? parsed : value
}

/** Returns the prompt and the tools of a request, of its messages, or of JSON of either. */
export function askedOf(given: unknown, at: string, reader: Reader): Pick<LoggedCall, 'prompt' | 'tools'> {
  const value = unquoted(given, reader)
  if (isJsonObject(value)) {
    const key = ['messages', 'input'].find((name) => Array.isArray(value[name]))
    if (key === undefined) return { prompt: { at, value } }
    const { prompt, tools } = askedOf(value[key], within(at, key), reader)
    return { prompt, tools: toolsIn(value, at) ?? tools }
  }
  // LangChain logs a list for each prompt of a batch.
  if (Array.isArray(value) && value.length === 1 && Array.isArray(value[0]))
    return askedOf(value[0], `${at}[0]`, reader)
  if (!isListOfObjects(value)) return { prompt: { at, value } }
  // Langfuse logs LangChain's tools as messages.
  const tools = value.filter(isTool).map(({ content }) => content)
  return { prompt: { at, value: value.filter((message) => !isTool(message)) }, tools: toolsPart(tools, `${at}.tools`) }
}

const isTool = ({ role, content }: JsonObject): boolean =>
  role === 'tool' && isJsonObject(content) && isJsonObject(content.function)

/** Returns the tools of a request, also in OpenAI's older form; undefined if there are none. */
export function toolsIn({ tools, functions }: JsonObject, at: string): LoggedPart | undefined {
  const key = isListOfObjects(tools) ? 'tools' : 'functions'
  const list = key === 'tools' ? tools : functions
  return isListOfObjects(list) ? toolsPart(list, within(at, key)) : undefined
}

/** Returns tools as OpenAI's chats have them, also those of Responses, Anthropic and OpenTelemetry; undefined if there are none. */
export function toolsPart(tools: readonly unknown[], at: string): LoggedPart | undefined {
  return tools.length === 0 ? undefined : { at, value: tools.map(toolOf) }
}

function toolOf(tool: unknown): unknown {
  if (!isJsonObject(tool) || 'function' in tool || typeof tool.name !== 'string') return tool
  const { name, description, parameters = tool.input_schema } = tool
  const known = Object.entries({ description, parameters }).filter(([, value]) => !isEmpty(value))
  return { type: 'function', function: { name, ...Object.fromEntries(known) } }
}

/**
 * Returns the answer of a response: of OpenAI's (`choices`), of LangChain's (`generations`), of a graph's (`messages`, of which those
 * after the prompt are the answer), or the value itself; and why it is not trained.
 * @throws InputError `malformed-row` for several answers
 */
export function answerOf(
  given: unknown,
  at: string,
  prompt: unknown,
  reader: Reader,
): Pick<LoggedCall, 'answer' | 'leftOut'> {
  const value = unquoted(given, reader)
  if (!isJsonObject(value)) return asAnswer({ at, value })
  const { choices, generations, messages, message } = value
  if (Array.isArray(choices)) {
    const { at: place, value: choice } = onlyOne(choices, within(at, 'choices'), reader)
    const key = choice.message === undefined ? 'text' : 'message'
    return asAnswer({ at: `${place}.${key}`, value: choice[key] }, choice.finish_reason)
  }
  if (Array.isArray(generations)) {
    const { at: place, value: generation } = onlyOne(generations.flat(), within(at, 'generations'), reader)
    const { message, text, generation_info: info } = generation
    const reason = isJsonObject(info) ? info.finish_reason : undefined
    return asAnswer({ at: place, value: message ?? text }, reason)
  }
  if (Array.isArray(messages)) {
    const place = within(at, 'messages')
    return asAnswer({ at: place, value: afterPrompt(messages, prompt, place, reader) })
  }
  return isJsonObject(message) ? asAnswer({ at: within(at, 'message'), value: message }) : asAnswer({ at, value })
}

/** @throws InputError `malformed-row` for several answers */
export function onlyOne(answers: readonly unknown[], at: string, { where }: Reader): { at: string; value: JsonObject } {
  if (answers.length > 1) {
    throw malformedRow(where, `${at}: expected one answer but received ${answers.length}; write a row of each`)
  }
  const [one] = answers
  return { at: `${at}[0]`, value: isJsonObject(one) ? one : {} }
}

/** Returns the messages after those of the prompt, with which the state of a graph begins. */
function afterPrompt(messages: readonly unknown[], prompt: unknown, at: string, { where }: Reader): unknown[] {
  const fields = (message: unknown) => (isJsonObject(message) ? (langChainFields(message) ?? message) : {})
  const asked = Array.isArray(prompt) ? prompt : []
  const isSame = (message: unknown, i: number) =>
    JSON.stringify(fields(message).content) === JSON.stringify(fields(messages[i]).content)
  if (messages.length > asked.length && asked.every(isSame)) return messages.slice(asked.length)
  if (['ai', 'assistant'].includes(String(fields(messages[0]).role))) return [...messages]
  throw malformedRow(where, `${at}: expected the answer, alone or after the messages of the prompt`)
}

/** Reasons to finish other than the end of an answer, of OpenAI, OpenTelemetry, Anthropic and Google. */
const UNFINISHED = new Set(['length', 'max_tokens', 'content_filter', 'safety', 'error'])

/** Returns an answer with why it is not trained. A message that is a text alone becomes the text, which `mora eval` compares with. */
export function asAnswer(answer: LoggedPart, finish?: unknown): Pick<LoggedCall, 'answer' | 'leftOut'> {
  const { at, value } = answer
  const last = Array.isArray(value) ? value.at(-1) : value
  if (!isJsonObject(last)) return { answer, leftOut: isEmpty(last) ? 'unanswered' : leftOutBy(finish) }
  const fields = langChainFields(last) ?? last
  const { content, parts, invalid_tool_calls: invalid, response_metadata: metadata, finish_reason: own } = fields
  const facts = isJsonObject(metadata) ? metadata : {}
  const reasons = [finish, own, facts.finish_reason, facts.stop_reason]
  const isCut = reasons.some(leftOutBy) || !isEmpty(invalid)
  const calls = [fields.tool_calls, fields.function_call, fields.additional_kwargs]
  const hasCalls = calls.some((one) => !isEmpty(one))
  const isMessage = 'content' in fields || 'parts' in fields || 'role' in fields || hasCalls
  const isSilent = isMessage ? isEmpty(content ?? parts) && !hasCalls : isEmpty(fields)
  const leftOut = isCut ? 'unfinished' : isSilent ? 'unanswered' : undefined
  if (!isMessage) return { answer, leftOut }
  const isText = last === value && typeof content === 'string' && !hasCalls && isEmpty(fields.reasoning_content)
  const message = 'role' in fields ? last : { role: 'assistant', ...last }
  return { answer: { at, value: isText ? content : last === value ? [message] : value }, leftOut }
}

const leftOutBy = (reason: unknown): WhyLeftOut | undefined =>
  UNFINISHED.has(String(reason).toLowerCase()) ? 'unfinished' : undefined

export function isEmpty(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0
  return value === undefined || value === null || (typeof value === 'string' && value.trim() === '')
}
