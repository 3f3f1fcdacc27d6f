/**
 * Examples of datasets and runs of LangSmith (`langsmith` 0.4, `schemas.ts`: `Example`, `Run`), with messages of OpenAI, Anthropic or
 * LangChain; its Parquet exports have JSON of inputs and outputs.
 */
import { isJsonObject, type JsonObject } from '../../io/json.js'
import { answerOf } from './answer.js'
import { isEmpty, type LoggedPart, loggedForm, noAnswer, type Reader } from './call.js'
import { askedOf, toolsIn } from './request.js'

const objectIn = (value: unknown, { parse }: Pick<Reader, 'parse'>): JsonObject | undefined => {
  const object = typeof value === 'string' ? parse(value) : value
  return isJsonObject(object) ? object : undefined
}

/** Returns the tools of LangChain's models, which a run has beside its inputs. */
function boundTools({ extra }: JsonObject, reader: Reader): LoggedPart | undefined {
  const params = objectIn(extra, reader)?.invocation_params
  return isJsonObject(params) ? toolsIn(params, 'extra.invocation_params', reader) : undefined
}

export const langsmith = loggedForm(
  'langsmith',
  'LangSmith (dataset examples; runs, which have `run_type`)',
  { prompt: ['inputs'], completion: ['outputs'] },
  {
    fits: ({ inputs, outputs, run_type: type }) =>
      (isJsonObject(inputs) && (outputs !== undefined || type !== undefined)) ||
      (typeof inputs === 'string' && typeof type === 'string'),
    call(row, reader) {
      const { prompt, tools = boundTools(row, reader) } = askedOf(objectIn(row.inputs, reader), 'inputs', reader)
      const outputs = objectIn(row.outputs, reader) ?? row.outputs
      const hasFailed = !isEmpty(row.error) || row.status === 'error'
      const isCall = isEmpty(row.run_type) || row.run_type === 'llm'
      if (!isCall || hasFailed) return { prompt, tools, ...noAnswer('outputs', isCall ? 'failed' : 'others') }
      return { prompt, tools, ...answerOf(outputs, 'outputs', prompt.value, reader) }
    },
  },
)
