/** The shape of tasks with rows: a prompt, choices or the judgement of an answer, and measures over all rows. */
import { theOption } from '../common/option-names.js'
import { malformedRow } from '../rows/check.js'
import type { ChoiceRow } from '../rows/choices.js'
import type { RowReading } from '../rows/reading.js'
import type { DataRecord } from '../rows/record.js'
import type { PromptRow, QuestionRow } from '../rows/rows.js'
import type { Message } from '../text/template.js'

/** The result of one row: a line of `output`, and with `details` an entry of the result's `rows`. */
export interface RowEntry {
  /** The prompt as plain text, even if it was rendered as a chat; a row's own conversation or ids if it has them. */
  prompt: string | readonly Message[] | readonly number[]
  /** The text that was scored. */
  text?: string
  /** The reference answer, or the index of the right choice. */
  answer?: string | number
  /** The answer extracted from the text; null if there is none. */
  extracted?: string | null
  /** Index of the choice with the highest log-probability. */
  predicted?: number
  /** Natural log-probability of each choice, summed over its tokens. */
  logLikelihoods?: readonly number[]
  /** The row's subject. */
  subject?: string
  /** The score by the task's rule. */
  score: number
  /** Further verdicts by name. */
  [name: string]: unknown
}

/** Functions from the entries of all rows to a figure, by the figure's name. */
export interface Measures {
  /** The figure that is published for the task: the accuracy, or for some tasks an F1. */
  readonly score: (entries: readonly RowEntry[]) => number
  readonly [name: string]: ((entries: readonly RowEntry[]) => number | Readonly<Record<string, number>>) | undefined
}

/** A task that compares the log-probabilities of choices. */
export interface ChoiceTask<Own extends Measures = Measures> {
  /** Reads a row, `choiceRows` or with further conditions. @throws InputError `malformed-row` */
  rows(record: DataRecord, reading: RowReading): ChoiceRow
  readonly prompt: {
    /** Whether the published prompt is plain text, which is used as such unless a template is named. */
    readonly isPlain?: true
    /** Returns the text before the shots. */
    header?(row: ChoiceRow): string
    /** Returns the text that asks; a space and a choice follow. */
    question(row: ChoiceRow): string
  }
  /** Returns the texts that may follow, one for each choice. */
  choices(row: ChoiceRow): readonly string[]
  /**
   * Whether AdaptLLM's rules hold: the highest mean of a token is predicted and not the highest sum, and prompts are tokenised as they
   * are, without BOS.
   */
  byAdaptllm?(row: ChoiceRow): boolean
  /** Returns further verdicts on a row, from the sum of log-probabilities and the number of tokens of each choice. */
  verdicts?(row: ChoiceRow, sums: readonly number[], tokens: readonly number[]): Record<string, number>
  readonly measures: Own
}

/** A row whose answer is a text. */
export interface AnsweredRow extends PromptRow {
  /** The reference answer; absent if the task has none. */
  answer?: string
  /** The row's own answer, from which the reference was taken. */
  solution?: string
}

/** The score of a text, and further verdicts by name. */
interface Verdict {
  score: number
  [name: string]: unknown
}

/** A task that judges generated texts. */
export interface AnswerTask<Own extends Measures = Measures> {
  /** Reads a row. @throws InputError `malformed-row` */
  rows(record: DataRecord, reading: RowReading): AnsweredRow
  readonly prompt: {
    /** Whether the published prompt is plain text, which is used as such unless a template is named. */
    readonly isPlain?: true
    /** Whether a plain prompt has no BOS, whatever the tokenizer's rule. */
    readonly withoutBos?: true
    /** Writes a question as plain text; a space and an answer follow. In a chat, the question itself is the user's turn. */
    question?(prompt: string): string
  }
  readonly answer: {
    /** Texts that end an answer to a plain prompt. */
    readonly until?: readonly string[]
    /** Default of the maximum number of tokens of an answer. */
    readonly maxNewTokens: number
    /** @param given the text, the row with all its columns, and its place in the data */
    judge(given: {
      text: string
      answer: string
      solution: string
      row: unknown
      where: string
    }): Verdict | Promise<Verdict>
  }
  readonly measures: Own
}

/** Reads multiple-choice questions. */
export const choiceRows: ChoiceTask['rows'] = (record, reading) => reading.choices(record)

/** Reads questions, and the answer that each expects. */
export const questionRows =
  (expected: (row: QuestionRow, where: string) => string): AnswerTask['rows'] =>
  (record, reading) => {
    const row = reading.question(record)
    return { ...row, solution: row.answer, answer: expected(row, record.where) }
  }

/** Returns the error for a row without a part that its task needs. */
export const lacking = (part: 'subject' | 'input', { where }: DataRecord) =>
  malformedRow(
    where,
    `this task needs the row's ${part}; name its column (${theOption('columns', { [part]: 'COLUMN' })})`,
  )

/** Reads multiple-choice questions that have a subject. */
export const choiceRowsOfSubject: ChoiceTask['rows'] = (record, reading) => {
  const row = reading.choices(record)
  if (row.subject === undefined) throw lacking('subject', record)
  return row
}
