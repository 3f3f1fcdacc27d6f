/** The option `text`: a text with the columns of a row. */
import { quoted, UsageError } from '../../common/errors.js'
import { isJsonObject } from '../../io/json.js'
import { str } from '../templates/jinja/text.js'
import { toValue } from '../templates/jinja/values.js'
import { malformedRow } from './check.js'
import { exactColumns } from './exact-json.js'
import type { DataRecord } from './record.js'

/** A text with at least one column in braces; all other braces are written twice. */
export const TEXT_TEMPLATE = /^(?:[^{}]|\{\{|\}\})*\{[^{}]+\}(?:[^{}]|\{\{|\}\}|\{[^{}]+\})*$/

const PIECE = /\{\{|\}\}|\\[nt\\]|\{([^{}]+)\}/g
const WRITTEN: Readonly<Record<string, string>> = { '{{': '{', '}}': '}', '\\n': '\n', '\\t': '\t', '\\\\': '\\' }

/**
 * `Question: {query}\nAnswer: {response}`: columns stand in braces; `{{` and `}}` are braces, `\n`, `\t` and `\\` as in JSON.
 */
export class TextTemplate {
  /** @throws UsageError `bad-value` */
  constructor(readonly source: string) {
    if (TEXT_TEMPLATE.test(source)) return
    throw new UsageError(
      'bad-value',
      `Expected a text with columns in braces, such as {question}, for text but received ${quoted(source)}; a brace itself is written twice.`,
    )
  }

  /** @throws InputError `malformed-row` if the record lacks a column, or the column is neither a text nor a number */
  of({ value, where, json }: DataRecord): string {
    if (!isJsonObject(value)) throw malformedRow(where, `expected columns by name but received ${quoted(value)}`)
    return this.source.replace(PIECE, (piece, column?: string) =>
      column === undefined ? WRITTEN[piece]! : columnText(value, column.trim(), where, json),
    )
  }
}

function columnText(
  columns: Readonly<Record<string, unknown>>,
  column: string,
  where: string,
  json: string | undefined,
): string {
  if (!Object.hasOwn(columns, column)) {
    const known = Object.keys(columns).join(', ') || 'none'
    throw malformedRow(where, `the text has the column ${quoted(column)}, but the row has ${known}`)
  }
  const value = columns[column]
  if (typeof value === 'string') return value
  if (!['number', 'bigint', 'boolean'].includes(typeof value)) {
    throw malformedRow(where, `${column}: expected a text or a number but received ${quoted(value)}`)
  }
  // Numbers keep their spelling: 2.0 stays 2.0.
  return str(toValue(exactColumns(json)?.[column] ?? value))
}
