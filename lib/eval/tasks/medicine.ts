/**
 * Questions of medicine. Rows of the data sets themselves have lm-evaluation-harness's prompt. Rows of AdaptLLM (`input`, `options`,
 * `gold_index`) hold the whole prompt and are measured by AdaptLLM's rules.
 */
import type { ChoiceRow } from '../../data/rows/choices.js'
import type { ChoiceTask } from '../choice-task.js'
import { accuracy } from '../measures.js'
import { lettered, letters } from './choices.js'

const medicine = (question: ChoiceTask['question'], answers: ChoiceTask['answers']): ChoiceTask => ({
  kind: 'choices',
  plain: true,
  question: (row) => (row.continues ? row.question : question(row)),
  answers: (row) => (row.continues ? row.choices : answers(row)),
  byAdaptllm: ({ continues }) => continues === true,
  summarise: accuracy,
})

const asked = ({ question }: ChoiceRow): string => `Question: ${question}\n`

/** PubMedQA (Jin et al. 2019): the abstract's parts, a question, and yes, no or maybe. */
export const pubmedqaTask: ChoiceTask = {
  ...medicine(
    (row) => `Abstract: ${row.context}\n${asked(row)}Answer:`,
    ({ choices }) => choices,
  ),
  lacks: ({ context, continues }) => (context === undefined && !continues ? 'input' : undefined),
}

/** MedQA (Jin et al. 2020), the four choices of the USMLE. */
export const medqaTask = medicine((row) => `${asked(row)}${lettered(row)}Answer:`, letters)

/** MedMCQA (Pal et al. 2022). */
export const medmcqaTask = medicine((row) => `${asked(row)}Choices:\n${lettered(row)}Answer:`, letters)
