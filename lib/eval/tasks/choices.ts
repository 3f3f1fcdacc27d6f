/** Multiple-choice questions of any form, by letter or by whole choices. */
import { type ChoiceRow, LETTERS } from '../../data/rows/choices.js'
import { best, type ChoiceTask, quotients } from '../choice-task.js'
import { accuracy, bySubject, meanOf } from '../measures.js'

/** Returns the lines of the choices, each after its letter. */
export const lettered = ({ choices }: ChoiceRow): string =>
  choices.map((choice, i) => `${LETTERS[i]}. ${choice}\n`).join('')

export const letters = ({ choices }: ChoiceRow): string[] => [...LETTERS.slice(0, choices.length)]

const withContext = ({ context, question }: ChoiceRow): string =>
  context === undefined ? question : `${context}\n${question}`

/**
 * The choices are listed, each after its letter, and the answer is a letter:
 *
 *     What is 2 + 2?
 *     A. 3
 *     B. 4
 *     Answer:
 */
export const lettersTask: ChoiceTask = {
  kind: 'choices',
  question: (row) => `${withContext(row)}\n${lettered(row)}Answer:`,
  answers: letters,
  summarise: (entries) => ({ ...accuracy(entries), bySubject: bySubject(entries) }),
}

/** The answer is a choice itself, after `Question: …` and `Answer:`, or after a text that the choices continue. */
export const wholeChoicesTask: ChoiceTask = {
  kind: 'choices',
  question: (row) => (row.continues ? row.question : `Question: ${withContext(row)}\nAnswer:`),
  answers: ({ choices }) => choices,
  verdicts({ row, sums, tokens }) {
    const characters = row.choices.map((choice) => [...choice].length)
    const bytes = row.choices.map((choice) => Buffer.byteLength(choice))
    const isRightBy = (lengths: readonly number[]) => Number(best(quotients(sums, lengths)) === row.answer)
    return { perCharacter: isRightBy(characters), perByte: isRightBy(bytes), perToken: isRightBy(tokens) }
  },
  summarise: (entries) => ({
    ...accuracy(entries),
    perCharacter: meanOf(entries, 'perCharacter'),
    perByte: meanOf(entries, 'perByte'),
    perToken: meanOf(entries, 'perToken'),
    bySubject: bySubject(entries),
  }),
}
