/** Uses of rows, beside the kinds whose texts an objective compares. */
import type { RowPurpose } from './forms.js'
import { KINDS } from './kinds/index.js'

/** Multiple-choice questions fit every purpose, so that they can be refused by name. */
const purpose = (name: string, needs: string, fits: RowPurpose['fits']): RowPurpose => ({
  name,
  needs,
  fits: (columns, form) =>
    !Object.values(KINDS).some(({ mark }) => columns[mark]) && (columns.choices !== undefined || fits(columns, form)),
})

export const PURPOSES = {
  training: purpose(
    'training',
    'text, messages, input_ids, or prompt and completion',
    ({ input_ids, text, messages, prompt, completion }) =>
      Boolean(input_ids ?? text ?? messages ?? (prompt && completion)),
  ),
  prompt: purpose('prompt', 'prompt, messages or input_ids', ({ input_ids, messages, prompt }) =>
    Boolean(input_ids ?? messages ?? prompt),
  ),
  /** Questions that are answered in words. */
  question: purpose('question', 'prompt and answer', ({ messages, prompt, answer, completion }) =>
    Boolean(messages ?? (prompt && (answer ?? completion))),
  ),
  choices: purpose('choices', 'question, choices and answer', (_, { fixedChoices }) => fixedChoices !== undefined),
}
