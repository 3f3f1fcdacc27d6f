/** The option `text`: a text with the columns of a row. */
import { quoted, UsageError } from '../common/errors.js'
import { str } from '../text/python/text.js'
import { toValue } from '../text/python/values.js'
import { malformedRow } from './check.js'
import type { RowColumns } from './columns.js'

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

  /** Names of the columns. */
  get columns(): string[] {
    return [...this.source.matchAll(PIECE)].flatMap(([, column]) => (column === undefined ? [] : [column.trim()]))
  }

  /** @throws InputError `malformed-row` if the row lacks a column, or the column is neither a text nor a number */
  of(row: RowColumns): string {
    return this.source.replace(PIECE, (piece, column?: string) =>
      column === undefined ? WRITTEN[piece]! : columnText(row, column.trim()),
    )
  }
}

function columnText(row: RowColumns, column: string): string {
  const name = row.find(column)
  if (name === undefined) {
    const known = row.names.join(', ') || 'none'
    throw malformedRow(row.where, `the text has the column ${quoted(column)}, but the row has ${known}`)
  }
  // A flag is written as Python writes it.
  return typeof row.value(name) === 'boolean' ? str(toValue(row.value(name))) : row.text(name)
}
