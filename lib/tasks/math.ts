/** MATH (Hendrycks et al. 2021): rows `problem`, `solution`, whose solution has its answer in the last `\boxed{}`. */
import { malformedRow } from '../rows/check.js'
import { afterPhrase, lastBoxed } from './answers.js'
import { isEquivalent } from './math-equivalence.js'
import { accuracy, meanBy } from './measures.js'
import { metamathText } from './metamath.js'
import { type AnswerTask, questionRows } from './task.js'

export const math = {
  rows: questionRows(({ answer, isCompletion }, where) => {
    const boxed = lastBoxed(answer)
    if (boxed === null && isCompletion) throw malformedRow(where, 'expected a solution with its answer in \\boxed{}')
    return boxed ?? answer.trim()
  }),
  prompt: { question: (problem) => `Problem: ${problem}\nAnswer:` },
  answer: {
    until: ['Problem:'],
    maxNewTokens: 512,
    judge({ text, answer }) {
      const extracted = lastBoxed(text) ?? afterPhrase(text)
      return {
        extracted,
        score: Number(isEquivalent(extracted, answer)),
        metamath: Number(isEquivalent(metamathText(text), answer)),
      }
    },
  },
  measures: {
    ...accuracy,
    /** Share of right rows by MetaMath's rule. */
    metamath: meanBy('metamath'),
  },
} satisfies AnswerTask
