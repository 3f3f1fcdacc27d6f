/** Texts with labels. */
import type { FormedRow } from '../formed-row.js'
import { formsFor } from '../forms.js'
import { answeredRow, conversation, messagesRow, promptRow, type Row } from '../rows.js'
import type { RowKind } from './kind.js'

const withLabel = formsFor<'label'>('`--objective classify`')

export const labelled: RowKind<'label'> = {
  parts: ['text', 'label'],
  needs: 'label, and text, messages or prompt',
  forms: [
    withLabel('labelled', 'texts and their labels (IMDB, AG News)', { text: ['text'], label: ['label'] }),
    withLabel('labelled-sentence', 'GLUE (SST-2, CoLA)', { text: ['sentence'], label: ['label'] }),
    withLabel('labelled-prompt', 'prompts and their labels', { prompt: ['prompt'], label: ['label'] }),
  ],
  compared: {
    objective: 'classify',
    mark: 'label',
    areWhole: true,
    hasLabelNames: true,
    documentNames: () => ['text'],
  },
  fits: ({ label, text, messages, prompt }) => Boolean(label && (text ?? messages ?? prompt)),
  read: (row, labels) => ({
    kind: 'compared',
    areWhole: true,
    label: labels!.numberOf(row.value('label'), row.name('label'), row.where),
    examples: [[labelledText(row)]],
  }),
}

/** Returns a text. A prompt alone is a user's turn; a prompt and its answer are a conversation. */
function labelledText(row: FormedRow): Row {
  if (row.has('text')) return { kind: 'text', text: row.text('text') }
  if (row.has('completion')) return answeredRow(row, 'completion')
  if (row.has('messages')) return messagesRow(row, conversation(row))
  const { prompt, messages, ...context } = promptRow(row)
  if (prompt !== undefined) return { kind: 'completion', prompt, completion: '' }
  return { kind: 'messages', messages: messages!, ...context }
}
