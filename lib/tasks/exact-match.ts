/** Any questions with short answers: the prompt is the question alone. */
import { expectedAnswer, extractAnswer, isSameAnswer } from './answers.js'
import { accuracy } from './measures.js'
import { type AnswerTask, questionRows } from './task.js'

export const exactMatch = {
  rows: questionRows(({ answer }) => expectedAnswer(answer)),
  prompt: {},
  answer: {
    maxNewTokens: 256,
    judge({ text, answer }) {
      const extracted = extractAnswer(text)
      return { extracted, score: Number(extracted !== null && isSameAnswer(extracted, answer)) }
    },
  },
  measures: {
    ...accuracy,
    /** Number of rows with the expected answer. */
    correct: (entries) => entries.reduce((correct, { score }) => correct + score, 0),
  },
} satisfies AnswerTask
