/**
 * Observations and dataset items of Langfuse (v3 and v4): of its API, of exports, and of its blob storage ("Blob Storage Export
 * Field Reference"), where `input` and `output` are texts, and `tool_definitions` maps names to JSON of a description and JSON of
 * parameters.
 */
import { theOption } from '../../common/option-names.js'
import { shortened } from '../../common/printable.js'
import { isJsonObject, type JsonObject } from '../../io/json.js'
import { malformedRow } from '../check.js'
import { answerOf } from './answer.js'
import { isEmpty, type LoggedCall, type LoggedPart, loggedForm, noAnswer, type Reader } from './call.js'
import { askedOf, toolsPart } from './request.js'

const either = (row: JsonObject, names: readonly string[]): string | undefined => names.find((name) => name in row)

/** Maximum number of characters of key names in a message. */
const MOST_NAMED = 200

/** The answer of an item of a data set. */
const EXPECTED = 'expectedOutput'

function call(row: JsonObject, reader: Reader): LoggedCall {
  const { prompt, tools = definitionsIn(row, reader) } = askedOf(row.input, 'input', reader)
  const isItem = EXPECTED in row
  const name = isItem ? EXPECTED : 'output'
  const isCall = isItem || isEmpty(row.type) || row.type === 'GENERATION'
  if (!isCall || row.level === 'ERROR') return { prompt, tools, ...noAnswer(name, isCall ? 'failed' : 'others') }
  const answered = answerOf(row[name], name, prompt.value, reader)
  if (isItem || !isJsonObject(answered.answer.value)) return { prompt, tools, ...answered }
  const keys = shortened(Object.keys(answered.answer.value).join(', '), MOST_NAMED)
  throw malformedRow(
    reader.where,
    `${name}: expected what the model said, a text or a message, but received an object of ${keys}; name the value to train (${theOption('columns', { prompt: 'input', completion: 'output.KEY' })})`,
  )
}

/** Returns the tools that an export has beside the input; undefined if there are none. */
function definitionsIn(row: JsonObject, { parse }: Reader): LoggedPart | undefined {
  const at = either(row, ['toolDefinitions', 'tool_definitions'])
  const given = at === undefined ? undefined : row[at]
  if (at === undefined || !isJsonObject(given) || isEmpty(given)) return undefined
  const value = Object.entries(given).map(([name, json]) => {
    const facts = typeof json === 'string' ? parse(json) : json
    const { description, parameters } = isJsonObject(facts) ? facts : {}
    const schema = typeof parameters === 'string' ? parse(parameters) : parameters
    return { name, description, parameters: schema }
  })
  return toolsPart(value, at)
}

export const langfuse = loggedForm(
  'langfuse',
  'Langfuse (observations with `traceId` or `trace_id`, dataset items)',
  { prompt: ['input'], completion: ['output', 'expectedOutput'] },
  {
    fits: (row) =>
      'input' in row && (EXPECTED in row || ('output' in row && either(row, ['traceId', 'trace_id']) !== undefined)),
    call,
  },
)
