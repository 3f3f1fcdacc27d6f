/**
 * Questions of medicine. Rows of the data sets themselves have lm-evaluation-harness's prompt; rows of AdaptLLM (`input`, `options`,
 * `gold_index`) hold the whole prompt, and the predicted option has the highest mean log-probability of a token, as there.
 */
import type { ChoiceRow } from '../../data/rows/choices.js'
import type { ChoiceTask } from '../choice-task.js'
import { accuracy } from '../measures.js'
import { lettered, letters } from './choices.js'

/** Options that continue a prompt, as in all tasks of AdaptLLM (Cheng et al. 2023). */
export const adaptllm = {
  kind: 'choices',
  plain: true,
  question: ({ question }) => question,
  answers: ({ choices }) => choices,
  byAdaptllm: () => true,
} as const satisfies Omit<ChoiceTask, 'summarise'>

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

/** PubMed RCT (Dernoncourt & Lee 2017) by AdaptLLM's measure, the micro F1, which is the accuracy. */
export const rctTask: ChoiceTask = { ...adaptllm, summarise: accuracy }
