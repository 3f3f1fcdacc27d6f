/**
 * OpenBookQA (Mihaylov et al. 2018): rows `question_stem`, `choices`, `answerKey`. The prompt is lm-evaluation-harness's: the stem alone,
 * which a choice continues after a space; `perCharacter` is its `acc_norm`.
 */
import { wholeChoices } from './choices.js'
import type { ChoiceTask } from './task.js'

export const openbookqa = {
  ...wholeChoices,
  prompt: { isPlain: true, question: ({ question }) => question },
} satisfies ChoiceTask
