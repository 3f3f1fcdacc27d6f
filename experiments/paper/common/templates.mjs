import { fileURLToPath } from 'node:url'

/** For base models, which have no template: a question and its answer, as the prompts of GSM8K and MATH are written. */
export const QUESTION_TEMPLATE = fileURLToPath(new URL('../tasks/question.jinja', import.meta.url))
