/** MMLU (Hendrycks et al. 2021): rows `question`, `choices`, `answer`, `subject`. The prompt is lm-evaluation-harness's. */
import { strip } from '../text/python/methods.js'
import { lettered, letters } from './choices.js'
import { accuracy, average, bySubject } from './measures.js'
import { type ChoiceTask, choiceRowsOfSubject } from './task.js'

export const mmlu = {
  rows: choiceRowsOfSubject,
  prompt: {
    isPlain: true,
    header: ({ subject }) =>
      `The following are multiple choice questions (with answers) about ${subject!.replaceAll('_', ' ')}.\n\n`,
    question: (row) => `${strip(row.question)}\n${lettered(row)}Answer:`,
  },
  choices: letters,
  measures: {
    ...accuracy,
    accuracyBySubject: bySubject,
    /** The mean of the subjects' accuracies. */
    meanOfSubjects: (entries) => average(Object.values(bySubject(entries))),
  },
} satisfies ChoiceTask
