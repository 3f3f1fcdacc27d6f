/** Recognises rows of other programs that cannot be trained unchanged, and says what to do instead. */
import { theOption } from '../common/option-names.js'
import { isJsonObject } from '../io/json.js'
import type { RowColumns } from './columns.js'

interface ForeignRow {
  /** Columns that identify the program. */
  columns: readonly string[]
  fits: (...values: unknown[]) => boolean
  advice: () => string
}

const isListOf = (value: unknown, key: string) =>
  Array.isArray(value) && value.length > 0 && value.every((one) => isJsonObject(one) && key in one)

const FOREIGN_ROWS: readonly ForeignRow[] = [
  {
    columns: ['choices', 'question_id'],
    fits: (choices) => isListOf(choices, 'turns'),
    advice: () =>
      'these are answers of a model for a judge (FastChat), whose questions are in another file: join both by question_id into rows of messages',
  },
  {
    columns: ['data', 'annotations'],
    fits: (data, annotations) => isJsonObject(data) && isListOf(annotations, 'result'),
    advice: () =>
      `this is an export of Label Studio with all that it knows of a task: export it as JSON-MIN or CSV, and name its columns (${theOption('columns', { prompt: 'COLUMN', completion: 'COLUMN' })})`,
  },
]

/** Returns advice for a row of another program; undefined for any other row. */
export function foreignRow(columns: RowColumns): string | undefined {
  const value = (name: string) => columns.value(columns.find(name) ?? name)
  const found = FOREIGN_ROWS.find(
    ({ columns: names, fits }) =>
      names.every((name) => columns.find(name) !== undefined) && fits(...names.map((name) => value(name))),
  )
  return found?.advice()
}
