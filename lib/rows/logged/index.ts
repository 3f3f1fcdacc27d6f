/** Calls of models as services log them, read as a prompt and its answer. */
import { exactJsonIn } from '../../io/exact-json.js'
import { jsonIn } from '../../io/json.js'
import { nestsTooDeep } from '../../io/json-scan.js'
import { RowColumns } from '../columns.js'
import { type RowForm, TEMPLATE_OPTIONS } from '../forms.js'
import { withoutAnswer } from './answer.js'
import type { LoggedForm, LoggedPart, WhyLeftOut } from './call.js'
import { langfuse } from './langfuse.js'
import { langsmith } from './langsmith.js'
import { chatCompletion } from './openai.js'
import { openTelemetry } from './opentelemetry.js'

/** Forms of logged calls, in the order in which they are tried, before all others. */
export const LOGGED_FORMS: readonly LoggedForm[] = [openTelemetry, langfuse, langsmith, chatCompletion]

/** A logged call as columns of a prompt, its answer and its tools. */
export interface LoggedRow {
  form: RowForm
  columns: RowColumns
  /** Names of the record's columns. */
  names: readonly string[]
  leftOut: WhyLeftOut | undefined
}

/**
 * Returns a row that is a logged call; undefined for any other.
 * @throws InputError `malformed-row`
 */
export function loggedRow(row: RowColumns): LoggedRow | undefined {
  const { values, where } = row
  const form = LOGGED_FORMS.find(({ fits }) => fits(values))
  if (!form) return undefined
  const parse = (text: string) => (nestsTooDeep(text) ? undefined : jsonIn(text))
  const { leftOut, ...call } = withoutAnswer(form.call(values, { where, parse }))
  const exact = row.exactValues && withoutAnswer(form.call(row.exactValues, { where, parse: exactJsonIn }))
  const { prompt, answer, tools } = call
  const kept = Object.fromEntries(
    ['weight', TEMPLATE_OPTIONS].flatMap((name) => (values[name] === undefined ? [] : [[name, values[name]]])),
  )
  const valuesOf = (parts: { prompt: LoggedPart; answer: LoggedPart; tools?: LoggedPart | undefined }) =>
    Object.fromEntries(
      [parts.prompt, parts.answer, parts.tools].flatMap((part) => (part ? [[part.at, part.value]] : [])),
    )
  const plain = valuesOf(call)
  return {
    form: {
      name: form.name,
      madeFor: form.madeFor,
      use: form.use,
      columns: { prompt: [prompt.at], completion: [answer.at] },
      optional: tools && { tools: [tools.at] },
    },
    columns: new RowColumns(
      { value: { ...plain, ...kept }, where, exact: { ...plain, ...kept, ...(exact && valuesOf(exact)) } },
      new Set(),
    ),
    names: row.names,
    leftOut,
  }
}
