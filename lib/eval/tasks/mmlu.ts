/** MMLU (Hendrycks et al. 2021): rows `question`, `choices`, `answer`, `subject`. The prompt is lm-evaluation-harness's. */
import { strip } from '../../data/templates/jinja/methods.js'
import type { ChoiceTask } from '../choice-task.js'
import { accuracy, average, bySubject } from '../measures.js'
import { lettered, letters } from './choices.js'

export const mmluTask: ChoiceTask = {
  kind: 'choices',
  plain: true,
  lacks: ({ subject }) => (subject === undefined ? 'subject' : undefined),
  header: ({ subject }) =>
    `The following are multiple choice questions (with answers) about ${subject!.replaceAll('_', ' ')}.\n\n`,
  question: (row) => `${strip(row.question)}\n${lettered(row)}Answer:`,
  answers: letters,
  summarise(entries) {
    const accuracyBySubject = bySubject(entries)
    return { ...accuracy(entries), accuracyBySubject, meanOfSubjects: average(Object.values(accuracyBySubject)) }
  },
}
