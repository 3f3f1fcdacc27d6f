/** The answer of a logged response, and why it is not trained. */
import { isDeepStrictEqual } from 'node:util'
import { isJsonObject, type JsonObject } from '../../io/json.js'
import { malformedRow } from '../check.js'
import { langChainFields, ofLangChain } from '../langchain.js'
import { isEmpty, type LoggedCall, type LoggedPart, type Reader, unquoted, type WhyLeftOut, within } from './call.js'
import { areItems, messagesOfItems } from './responses.js'

type Answered = Pick<LoggedCall, 'answer' | 'leftOut'>

/**
 * Returns the answer of a response: of OpenAI's (`choices`, or `output` with items), of LangChain's (`generations`), of a graph's
 * (`messages`, of which those after the prompt are the answer), or the value itself; and why it is not trained.
 * @throws InputError `malformed-row` for several answers
 */
export function answerOf(given: unknown, at: string, prompt: unknown, reader: Reader): Answered {
  const value = unquoted(given, reader)
  if (areItems(value)) return ofItems(value, at, reader)
  if (!isJsonObject(value)) return asAnswer({ at, value })
  const { choices, generations, messages, message, object, output } = value
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
  if (object === 'response' || areItems(output)) {
    const { incomplete_details: cut, status } = value
    const reason = isJsonObject(cut) ? cut.reason : status
    return ofItems(areItems(output) ? output : [], within(at, 'output'), reader, reason)
  }
  // The row itself is no answer.
  if (at === '') return asAnswer({ at: 'choices', value: undefined })
  return isJsonObject(message) ? asAnswer({ at: within(at, 'message'), value: message }) : asAnswer({ at, value })
}

function ofItems(items: readonly JsonObject[], at: string, { where }: Reader, reason?: unknown): Answered {
  const messages = messagesOfItems(items, at, where)
  return asAnswer({ at, value: messages.length === 1 ? messages[0] : messages }, reason)
}

/** @throws InputError `malformed-row` for several answers */
export function onlyOne(answers: readonly unknown[], at: string, { where }: Reader): { at: string; value: JsonObject } {
  if (answers.length > 1) {
    throw malformedRow(where, `${at}: expected one answer but received ${answers.length}; write a row of each`)
  }
  const [one] = answers
  return { at: `${at}[0]`, value: isJsonObject(one) ? one : {} }
}

const isOfAssistant = ({ role }: JsonObject): boolean => role === 'ai' || role === 'assistant'

/** Returns the messages after those of the prompt, with which the state of a graph begins. */
function afterPrompt(messages: readonly unknown[], prompt: unknown, at: string, { where }: Reader): unknown[] {
  const fields = (message: unknown) => (isJsonObject(message) ? ofLangChain(message) : {})
  const asked: readonly unknown[] = Array.isArray(prompt) ? prompt : []
  const isSame = (message: unknown, i: number) =>
    isDeepStrictEqual(fields(message).content, fields(messages[i]).content)
  if (messages.length > asked.length && asked.every(isSame)) return messages.slice(asked.length)
  if (isOfAssistant(fields(messages[0]))) return [...messages]
  throw malformedRow(where, `${at}: expected the answer, alone or after the messages of the prompt`)
}

/** Reasons to finish other than the end of an answer, of OpenAI, OpenTelemetry, Anthropic, Google and the AI SDK. */
const UNFINISHED = new Set([
  ...['length', 'max_tokens', 'max_output_tokens', 'incomplete', 'cancelled', 'error'],
  ...['content_filter', 'content-filter', 'safety'],
])

const leftOutBy = (reason: unknown): WhyLeftOut | undefined => {
  if (reason === 'failed') return 'failed'
  return UNFINISHED.has(String(reason).toLowerCase()) ? 'unfinished' : undefined
}

/** Returns an answer with why it is not trained. A message that is a text alone becomes the text, which `mora eval` compares with. */
export function asAnswer(answer: LoggedPart, finish?: unknown): Answered {
  const { at, value } = answer
  const last: unknown = Array.isArray(value) ? value.at(-1) : value
  if (!isJsonObject(last))
    return { answer, leftOut: isEmpty(last) ? (leftOutBy(finish) ?? 'unanswered') : leftOutBy(finish) }
  const fields = langChainFields(last) ?? last
  const { response_metadata: metadata, finish_reason, stop_reason, invalid_tool_calls: invalid } = fields
  const facts = isJsonObject(metadata) ? metadata : {}
  const reasons = [finish, finish_reason, stop_reason, facts.finish_reason, facts.stop_reason]
  const cut = isEmpty(invalid) ? reasons.map(leftOutBy).find((why) => why !== undefined) : 'unfinished'
  const message = ofLangChain(last)
  const { content, parts, tool_calls, function_call, reasoning_content: reasoning } = message
  const hasCalls = !isEmpty(tool_calls) || !isEmpty(function_call)
  const isMessage = 'content' in message || 'parts' in message || 'role' in message || hasCalls
  const isSilent = isMessage ? isEmpty(content ?? parts) && !hasCalls : isEmpty(message)
  const leftOut = cut ?? (isSilent ? 'unanswered' : undefined)
  if (!isMessage) return { answer, leftOut }
  if (last !== value) return { answer, leftOut }
  const isText = typeof content === 'string' && !hasCalls && isEmpty(reasoning)
  return { answer: { at, value: isText ? content : [{ role: 'assistant', ...message }] }, leftOut }
}

/** Removes the answer from the end of a prompt: programs may add it to their messages before these are logged. */
export function withoutAnswer(call: LoggedCall): LoggedCall {
  const { value } = call.answer
  const last: unknown = Array.isArray(call.prompt.value) ? call.prompt.value.at(-1) : undefined
  const answer: unknown = Array.isArray(value) && value.length === 1 ? value[0] : { content: value }
  if (!isJsonObject(last) || !isJsonObject(answer) || call.leftOut) return call
  const asked = ofLangChain(last)
  if (!isOfAssistant(asked) || !isDeepStrictEqual(saidBy(asked), saidBy(ofLangChain(answer)))) return call
  return { ...call, prompt: { ...call.prompt, value: (call.prompt.value as unknown[]).slice(0, -1) } }
}

const saidBy = ({ content, parts, tool_calls: calls, function_call: call }: JsonObject) =>
  [content, parts, calls, call].map((part) => (isEmpty(part) ? null : part))
