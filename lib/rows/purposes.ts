/** Uses of rows, beside the kinds whose texts an objective compares or gives a label. */
import type { RowPurpose } from './forms.js'
import { COMPARED_KINDS, TRAINED_KINDS } from './kinds/index.js'

/** Multiple-choice questions fit every purpose, so that they can be refused by name. */
const purpose = (name: string, needs: string, fits: RowPurpose['fits']): RowPurpose => ({
  name,
  needs,
  fits: (columns, form) =>
    !COMPARED_KINDS.some(({ compared }) => columns[compared.mark]) &&
    (columns.choices !== undefined || fits(columns, form)),
})

export const PURPOSES = {
  training: purpose(
    'training',
    ['text, messages, input_ids, or prompt and completion', ...TRAINED_KINDS.map(({ needs }) => needs)].join(', or '),
    (columns, form) => {
      const { input_ids, text, messages, prompt, completion } = columns
      const isText = input_ids ?? text ?? messages ?? (prompt && completion)
      return Boolean(isText) || TRAINED_KINDS.some((kind) => kind.fits(columns, form))
    },
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
