/** Multiple-choice questions of any form, by letter or by whole choices. */
import { type ChoiceRow, LETTERS } from '../rows/choices.js'
import { accuracy, best, bySubject, meanBy, quotients } from './measures.js'
import { type ChoiceTask, choiceRows } from './task.js'

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
const byLetter = {
  rows: choiceRows,
  prompt: { question: (row) => `${withContext(row)}\n${lettered(row)}Answer:` },
  choices: letters,
  measures: {
    ...accuracy,
    /** Accuracy by subject; empty if rows name none. */
    bySubject,
  },
} satisfies ChoiceTask

/** The answer is a whole choice. Further accuracies divide its log-probability by its length. */
export const wholeChoices = {
  rows: choiceRows,
  choices: ({ choices }) => choices,
  verdicts(row, sums, tokens) {
    const characters = row.choices.map((choice) => [...choice].length)
    const bytes = row.choices.map((choice) => Buffer.byteLength(choice))
    const isRightBy = (lengths: readonly number[]) => Number(best(quotients(sums, lengths)) === row.answer)
    return { perCharacter: isRightBy(characters), perByte: isRightBy(bytes), perToken: isRightBy(tokens) }
  },
  measures: {
    ...accuracy,
    /** Accuracy if log-probabilities are divided by the choice's characters. */
    perCharacter: meanBy('perCharacter'),
    /** Accuracy if log-probabilities are divided by the choice's bytes in UTF-8. */
    perByte: meanBy('perByte'),
    /** Accuracy if log-probabilities are divided by the choice's tokens. */
    perToken: meanBy('perToken'),
  },
} satisfies Omit<ChoiceTask, 'prompt'>

/** Whole choices after `Question: …` and `Answer:`, or after a text that they continue. */
const byText = {
  ...wholeChoices,
  prompt: { question: (row) => (row.continues ? row.question : `Question: ${withContext(row)}\nAnswer:`) },
  measures: { ...wholeChoices.measures, bySubject },
} satisfies ChoiceTask

/** Returns the task by the option `score`: letters, or whole choices, which have further measures. */
export const choicesBy = (
  score: 'letter' | 'text',
): ChoiceTask<typeof byLetter.measures & Partial<typeof byText.measures>> => (score === 'text' ? byText : byLetter)
