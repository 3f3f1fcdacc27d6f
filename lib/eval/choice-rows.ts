/** Rows of multiple-choice questions, and the text that asks them. */
import { z } from 'zod'
import { quoted } from '../common/errors.js'
import { checked, malformedRow } from '../data/rows/check.js'
import type { DataRecord } from '../data/rows/record.js'
import type { OpenSource } from '../data/sources/open.js'
import type { Message } from '../data/templates/template.js'
import { recordsOf } from './records.js'

export interface ChoiceRow {
  question: string
  choices: string[]
  /** Index of the right choice. */
  answer: number
  subject?: string
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'

const choiceRow = z.looseObject({
  question: z.string(),
  choices: z.array(z.string()).min(2).max(LETTERS.length),
  answer: z.union([z.int(), z.string()]),
  subject: z.string().optional(),
})

/** @throws InputError `malformed-row` */
export function parseChoiceRow(record: DataRecord): ChoiceRow {
  const { question, choices, answer, subject } = checked(choiceRow, record.value, record.where)
  const index = indexOf(answer)
  if (index >= 0 && index < choices.length) return { question, choices, answer: index, subject }
  throw malformedRow(
    record.where,
    `answer: expected an index from 0 to ${choices.length - 1} or a letter from A to ${LETTERS[choices.length - 1]} but received ${quoted(answer)}`,
  )
}

function indexOf(answer: number | string): number {
  if (typeof answer === 'number') return answer
  const text = answer.trim()
  if (/^\d+$/.test(text)) return Number(text)
  return text.length === 1 ? LETTERS.indexOf(text.toUpperCase()) : -1
}

/** Solved examples before a question: the first ones of its subject. */
export class Shots {
  readonly #bySubject = new Map<string, ChoiceRow[]>()

  private constructor(readonly count: number) {}

  /** Keeps what any question can need: one more of each subject than is asked for. */
  static async read(sources: readonly OpenSource[] | undefined, count: number, signal?: AbortSignal): Promise<Shots> {
    const shots = new Shots(count)
    if (count === 0 || !sources) return shots
    for await (const record of recordsOf(sources, { signal })) {
      const row = parseChoiceRow(record)
      const rows = shots.#bySubject.get(row.subject ?? '') ?? []
      shots.#bySubject.set(row.subject ?? '', rows)
      if (rows.length <= count) rows.push(row)
    }
    return shots
  }

  /** @throws InputError if the subject has too few; a question is never its own example */
  of({ question, subject }: ChoiceRow, where: string): ChoiceRow[] {
    const others = (this.#bySubject.get(subject ?? '') ?? []).filter((row) => row.question !== question)
    if (others.length >= this.count) return others.slice(0, this.count)
    const which = subject === undefined ? 'without a subject' : `of the subject "${subject}"`
    throw malformedRow(
      where,
      `the shots data has ${others.length} other questions ${which}, and ${this.count} were asked for`,
    )
  }
}

export type Score = 'letter' | 'text'

/**
 * Puts a question into words. With `letter`, choices are listed, each after its letter:
 *
 *     What is 2 + 2?
 *     A. 3
 *     B. 4
 *     Answer:
 *
 * and the answer is a letter. With `text`, the question is followed by `Answer:` alone, and the answer is the choice itself.
 * In a chat, each question is a user's turn and each answer an assistant's. Without a template, a space comes before each
 * answer and an empty line between questions.
 */
export function questionText({ question, choices }: ChoiceRow, score: Score): string {
  const listed = score === 'letter' ? choices.map((choice, i) => `${LETTERS[i]}. ${choice}\n`) : []
  return `${question}\n${listed.join('')}Answer:`
}

export function answerText({ choices }: ChoiceRow, index: number, score: Score): string {
  return score === 'letter' ? LETTERS[index]! : choices[index]!
}

/** The conversation up to the requested answer. */
export function chatOf(row: ChoiceRow, shots: readonly ChoiceRow[], score: Score): Message[] {
  const turns = shots.flatMap((shot) => [
    { role: 'user', content: questionText(shot, score) },
    { role: 'assistant', content: answerText(shot, shot.answer, score) },
  ])
  return [...turns, { role: 'user', content: questionText(row, score) }]
}

/** The same conversation as plain text. */
export function plainTextOf(row: ChoiceRow, shots: readonly ChoiceRow[], score: Score): string {
  const solved = shots.map((shot) => `${questionText(shot, score)} ${answerText(shot, shot.answer, score)}\n\n`)
  return solved.join('') + questionText(row, score)
}
