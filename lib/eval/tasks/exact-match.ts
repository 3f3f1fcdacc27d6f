/** Any questions with short answers: the prompt is the question alone. */
import { expectedAnswer, extractAnswer, isSameAnswer } from '../answers.js'
import { accuracy } from '../measures.js'
import type { TextTask } from '../text-task.js'

export const exactMatchTask: TextTask = {
  kind: 'text',
  maxNewTokens: 256,
  reference: ({ answer }) => expectedAnswer(answer),
  score({ text, answer }) {
    const extracted = extractAnswer(text)
    return { extracted, score: Number(extracted !== null && isSameAnswer(extracted, answer)) }
  },
  summarise: (entries) => ({
    ...accuracy(entries),
    correct: entries.reduce((correct, { score }) => correct + score, 0),
  }),
}
