/**
 * Stored completions of OpenAI (`openai` 6: `chat.completions.list` with `store: true`, whose messages
 * `chat.completions.messages.list` returns), and logs of a request beside its response.
 */
import { isJsonObject, type JsonObject } from '../../io/json.js'
import { malformedRow } from '../check.js'
import { answerOf, askedOf, isListOfObjects, loggedForm, toolsIn, within } from './call.js'

const hasAnswers = ({ object, choices }: JsonObject): boolean =>
  object === 'chat.completion' || (isListOfObjects(choices) && choices.some((choice) => 'message' in choice))

/** Returns the first object, of the row and of some of its columns, that fits; undefined if there is none. */
function find(
  row: JsonObject,
  places: readonly string[],
  fits: (value: JsonObject) => boolean,
): { at: string; value: JsonObject } | undefined {
  for (const at of ['', ...places]) {
    const value =
      at === '' ? row : at.split('.').reduce<unknown>((one, key) => (isJsonObject(one) ? one[key] : null), row)
    if (isJsonObject(value) && fits(value)) return { at, value }
  }
  return undefined
}

const responseIn = (row: JsonObject) => find(row, ['response', 'response.body', 'completion', 'output'], hasAnswers)

export const chatCompletion = loggedForm(
  'chat-completion',
  "stored completions (OpenAI), a request's `messages` or `input` and its response",
  { prompt: ['messages'], completion: ['choices'] },
  {
    fits: (row) => responseIn(row) !== undefined,
    call(row, reader) {
      const response = responseIn(row)!
      const isRequest = ({ messages, input }: JsonObject) => Array.isArray(messages) || Array.isArray(input)
      const request = find(row, ['request', 'request.body', 'body', 'input'], isRequest)
      if (!request) {
        throw malformedRow(
          reader.where,
          'a completion is stored without its messages: put them beside choices, as messages (client.chat.completions.messages.list has them)',
        )
      }
      const { at, value } = request
      const key = Array.isArray(value.messages) ? 'messages' : 'input'
      const list = value[key] as unknown[]
      const { prompt, tools = toolsIn(value, at) ?? toolsIn(row, '') } = askedOf(
        list.map(plain),
        within(at, key),
        reader,
      )
      return { prompt, tools, ...answerOf(response.value, response.at, prompt.value, reader) }
    },
  },
)

/** Returns a stored message with its content, which a list of parts replaces. */
function plain(message: unknown): unknown {
  if (!isJsonObject(message)) return message
  const { content_parts: parts, ...others } = message
  return Array.isArray(parts) ? { ...others, content: parts } : others
}
