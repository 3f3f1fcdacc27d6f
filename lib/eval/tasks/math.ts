/** MATH (Hendrycks et al. 2021): rows `problem`, `solution`, whose solution has its answer in the last `\boxed{}`. */
import { malformedRow } from '../../data/rows/check.js'
import { afterPhrase, lastBoxed } from '../answers.js'
import { accuracy, meanOf } from '../measures.js'
import type { TextTask } from '../text-task.js'
import { isEquivalent } from './math-equivalence.js'
import { metamathText } from './metamath.js'

export const mathTask: TextTask = {
  kind: 'text',
  question: (problem) => `Problem: ${problem}\nAnswer:`,
  until: ['Problem:'],
  maxNewTokens: 512,
  reference({ answer, isCompletion }, where) {
    const boxed = lastBoxed(answer)
    if (boxed === null && isCompletion) throw malformedRow(where, 'expected a solution with its answer in \\boxed{}')
    return boxed ?? answer.trim()
  },
  score({ text, answer }) {
    const extracted = lastBoxed(text) ?? afterPhrase(text)
    return {
      extracted,
      score: Number(isEquivalent(extracted, answer)),
      metamath: Number(isEquivalent(metamathText(text), answer)),
    }
  },
  summarise: (entries) => ({ ...accuracy(entries), metamath: meanOf(entries, 'metamath') }),
}
