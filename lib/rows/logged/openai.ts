/**
 * What OpenAI stores: chat completions (`openai` 6: `chat.completions.list` with `store: true`, whose messages
 * `chat.completions.messages.list` returns) and responses (`responses.retrieve`, with `responses.inputItems.list`), and logs of a
 * request beside its response.
 */
import { isJsonObject, type JsonObject } from '../../io/json.js'
import { malformedRow } from '../check.js'
import { answerOf } from './answer.js'
import { isListOfObjects, type LoggedPart, loggedForm, within } from './call.js'
import { askedOf, toolsIn } from './request.js'
import { areItems } from './responses.js'

const OBJECTS = new Set<unknown>(['chat.completion', 'text_completion', 'response'])

const hasAnswers = ({ object, choices, output }: JsonObject): boolean =>
  OBJECTS.has(object) || areItems(output) || (isListOfObjects(choices) && choices.some((choice) => 'message' in choice))

const isRequest = ({ messages, input, object }: JsonObject): boolean =>
  Array.isArray(messages) || Array.isArray(input) || (object === 'response' && input !== undefined)

/** Returns the first object, of the row and of some of its columns, that fits; undefined if there is none. */
function find(row: JsonObject, places: readonly string[], fits: (value: JsonObject) => boolean) {
  for (const at of ['', ...places]) {
    const keys = at === '' ? [] : at.split('.')
    const value = keys.reduce<unknown>((one, key) => (isJsonObject(one) ? one[key] : undefined), row)
    if (isJsonObject(value) && fits(value)) return { at, value }
  }
  return undefined
}

const responseIn = (row: JsonObject) => find(row, ['response', 'response.body', 'completion', 'output'], hasAnswers)

/** Returns the messages of a row's request, or its prompt. @throws InputError `malformed-row` */
function requestIn(row: JsonObject, where: string): { at: string; value: JsonObject } {
  const request = find(row, ['request', 'request.body', 'body', 'input'], isRequest)
  if (request) return request
  if (row.prompt !== undefined) return { at: '', value: { ...row, input: row.prompt } }
  throw malformedRow(
    where,
    'an answer is stored without what was asked: put the messages beside it, as messages (client.chat.completions.messages.list has them), or the items of a response as input (client.responses.inputItems.list)',
  )
}

export const chatCompletion = loggedForm(
  'chat-completion',
  "stored completions and responses (OpenAI), a request's `messages` or `input` and its response",
  { prompt: ['messages'], completion: ['choices'] },
  {
    fits: (row) => responseIn(row) !== undefined,
    call(row, reader) {
      const response = responseIn(row)!
      const { messages: _, ...answers } = response.value
      const { at, value } = requestIn(row, reader.where)
      const key = Array.isArray(value.messages) ? 'messages' : 'input'
      const given = value[key]
      const list = Array.isArray(given) ? given.map(plain) : [{ role: 'user', content: given }]
      const { prompt, tools } = askedOf({ ...value, messages: list }, at, reader)
      const answered = answerOf(answers, response.at, prompt.value, reader)
      // The request of a response is stored with it.
      const own: LoggedPart | undefined =
        tools ?? toolsIn(response.value, response.at, reader) ?? toolsIn(row, '', reader)
      return { prompt: { ...prompt, at: within(at, key) }, tools: own, ...answered }
    },
  },
)

/** Returns a stored message with its content, which a list of parts replaces. */
function plain(message: unknown): unknown {
  if (!isJsonObject(message)) return message
  const { content_parts: parts, ...others } = message
  return Array.isArray(parts) ? { ...others, content: parts } : others
}
