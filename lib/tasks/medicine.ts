/**
 * Questions of medicine. Rows of the data sets themselves have lm-evaluation-harness's prompt. Rows of AdaptLLM (`input`, `options`,
 * `gold_index`) hold the whole prompt and are measured by AdaptLLM's rules.
 */
import type { ChoiceRow } from '../rows/choices.js'
import { lettered, letters } from './choices.js'
import { accuracy } from './measures.js'
import { type ChoiceTask, choiceRows, lacking } from './task.js'

const medicine = (question: ChoiceTask['prompt']['question'], choices: ChoiceTask['choices']) =>
  ({
    rows: choiceRows,
    prompt: { isPlain: true, question: (row) => (row.continues ? row.question : question(row)) },
    choices: (row) => (row.continues ? row.choices : choices(row)),
    byAdaptllm: ({ continues }) => continues === true,
    measures: accuracy,
  }) satisfies ChoiceTask

const asked = ({ question }: ChoiceRow): string => `Question: ${question}\n`

/** PubMedQA (Jin et al. 2019): the abstract's parts, a question, and yes, no or maybe. */
export const pubmedqa = {
  ...medicine(
    (row) => `Abstract: ${row.context}\n${asked(row)}Answer:`,
    ({ choices }) => choices,
  ),
  rows(record, reading) {
    const row = reading.choices(record)
    if (row.context === undefined && !row.continues) throw lacking('input', record)
    return row
  },
} satisfies ChoiceTask

/** MedQA (Jin et al. 2020), the four choices of the USMLE. */
export const medqa = medicine((row) => `${asked(row)}${lettered(row)}Answer:`, letters)

/** MedMCQA (Pal et al. 2022). */
export const medmcqa = medicine((row) => `${asked(row)}Choices:\n${lettered(row)}Answer:`, letters)
