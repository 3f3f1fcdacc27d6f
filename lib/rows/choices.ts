/** Reads multiple-choice questions in the forms of published data sets. */
import { quoted } from '../common/errors.js'
import { isJsonObject } from '../io/json.js'
import { capitalize, strip } from '../text/python/methods.js'
import { malformedRow } from './check.js'
import type { RowColumns } from './columns.js'

export interface ChoiceRow {
  question: string
  choices: string[]
  /** Index of the right choice. */
  answer: number
  subject?: string
  /** Context of the question, one paragraph per line. */
  context?: string
  /** Whether the choices continue the question's text directly. */
  continues?: true
}

/** Letters of choices, in order. */
export const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'

/** Choices of a row, each with its label if it has one. */
interface Listed {
  texts: unknown[]
  labels?: unknown[]
  /** Index of the right choice, if the list marks it. */
  right?: number
}

/**
 * Returns the choices of a column, or of several columns, and the index of the right one.
 * @param values one list (texts, `{text, label}` objects, `{text: […], label: […]}`, `{A: …, B: …}`, or `{choices, labels}` where
 * the right one's label is 1), or several texts or lists; of these the first is right if there is no answer
 * @param answer an index, a letter, a label, or the text of the right choice; undefined if the choices tell it
 * @throws InputError `malformed-row`
 */
export function choicesOf(
  values: readonly unknown[],
  answer: unknown,
  at: { choices: string; answer: string; where: string },
): Pick<ChoiceRow, 'choices' | 'answer'> {
  const { texts, labels, right } =
    values.length === 1 ? listed(values[0]) : severalColumns(values, answer === undefined)
  const choices = texts.map((text, i) => choiceText(text, labels?.[i] ?? LETTERS[i]))
  const odd = choices.indexOf(undefined)
  if (odd >= 0)
    throw malformedRow(at.where, `${at.choices}[${odd}]: expected a text but received ${quoted(texts[odd])}`)
  if (choices.length < 2 || choices.length > LETTERS.length) {
    throw malformedRow(
      at.where,
      `${at.choices}: expected 2 to ${LETTERS.length} choices but received ${choices.length}`,
    )
  }
  const found = choices as string[]
  if (right !== undefined) return { choices: found, answer: right }
  const index = indexOf(answer, found, labels)
  if (index >= 0 && index < found.length) return { choices: found, answer: index }
  const others = labels ? `one of the labels ${labels.join(', ')}` : `a letter from A to ${LETTERS[found.length - 1]}`
  throw malformedRow(
    at.where,
    `${at.answer}: expected an index from 0 to ${found.length - 1} or ${others} but received ${quoted(answer)}`,
  )
}

function listed(value: unknown): Listed {
  if (Array.isArray(value)) {
    if (!value.every((one) => isJsonObject(one) && 'text' in one)) return { texts: value }
    const labels = value.map(({ label }) => label)
    return { texts: value.map(({ text }) => text), ...(labels.every((label) => label !== undefined) && { labels }) }
  }
  if (!isJsonObject(value)) return { texts: [] }
  const { text, label, choices, labels } = value
  if (Array.isArray(text) && Array.isArray(label)) return { texts: text, labels: label }
  if (Array.isArray(choices) && Array.isArray(labels)) return { texts: choices, right: labels.indexOf(1) }
  return { texts: Object.values(value), labels: Object.keys(value) }
}

/** @param isFirstRight whether the first column has the right choice, and a text of the others several, separated by `;` */
function severalColumns(columns: readonly unknown[], isFirstRight: boolean): Listed {
  if (!isFirstRight) return { texts: [...columns] }
  const [right, ...wrong] = columns
  const texts = wrong.flatMap((value) => (typeof value === 'string' ? value.split(/;\s*/) : value))
  return { texts: [right, ...texts.filter((text) => text !== '')], right: 0 }
}

/** Returns a choice without its label: `21` of `A)21`. */
function choiceText(value: unknown, label: unknown): string | undefined {
  if (typeof value === 'number') return String(value)
  if (typeof value !== 'string') return undefined
  const mark = /^\s*\(?([A-Za-z])\)\s*/.exec(value)
  return mark && mark[1]!.toUpperCase() === label ? value.slice(mark[0].length) : value
}

function indexOf(answer: unknown, choices: readonly string[], labels: readonly unknown[] | undefined): number {
  if (typeof answer === 'number' && !labels) return Number.isInteger(answer) ? answer : -1
  const text = String(answer ?? '').trim()
  const labelled = labels?.findIndex((label) => String(label) === text) ?? -1
  if (labelled >= 0) return labelled
  if (!labels && /^\d+$/.test(text)) return Number(text)
  const letter = text.length === 1 ? LETTERS.indexOf(text.toUpperCase()) : -1
  return letter >= 0 && letter < choices.length ? letter : choices.indexOf(text)
}

/**
 * Returns a row of HellaSwag as lm-evaluation-harness prepares it: its question is `activity_label: ctx_a Ctx_b`, without the marks
 * of WikiHow's pages.
 */
export function hellaswagRow(row: ChoiceRow, columns: RowColumns): ChoiceRow {
  const [a, b] = ['ctx_a', 'ctx_b'].map((name) => columns.find(name))
  if (a === undefined || b === undefined) return row
  const question = `${row.subject}: ${columns.text(a)} ${capitalize(columns.text(b))}`
  return { ...row, question: withoutMarks(question), choices: row.choices.map(withoutMarks) }
}

/** Removes marks of WikiHow's pages. In the harness's order, `[step] Put` keeps a space before it: ends are stripped first, and pairs of spaces join once. */
function withoutMarks(text: string): string {
  return strip(text)
    .replaceAll(' [title]', '. ')
    .replace(/\[.*?\]/g, '')
    .replaceAll('  ', ' ')
}
