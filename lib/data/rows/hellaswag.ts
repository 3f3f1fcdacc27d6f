/** The text of HellaSwag's rows, as lm-evaluation-harness prepares it. */
import { capitalize, strip } from '../templates/jinja/methods.js'
import type { ChoiceRow } from './choices.js'
import type { RowColumns } from './columns.js'

/** Returns a row whose question is `activity_label: ctx_a Ctx_b`, without the marks of WikiHow's pages. */
export function hellaswagRow(row: ChoiceRow, columns: RowColumns): ChoiceRow {
  const [a, b] = ['ctx_a', 'ctx_b'].map((name) => columns.find(name))
  if (a === undefined || b === undefined) return row
  const question = `${row.subject}: ${columns.text(a)} ${capitalize(columns.text(b))}`
  return { ...row, question: withoutMarks(question), choices: row.choices.map(withoutMarks) }
}

/** Removes marks. In the harness's order, `[step] Put` keeps a space before it: ends are stripped first, and pairs of spaces join once. */
function withoutMarks(text: string): string {
  return strip(text)
    .replaceAll(' [title]', '. ')
    .replace(/\[.*?\]/g, '')
    .replaceAll('  ', ' ')
}
