/** Answers that are judged good or bad. */
import { quoted } from '../../common/errors.js'
import { malformedRow } from '../check.js'
import { formsFor } from '../forms.js'
import { comparedAnswer, conversation, messagesRow, untrained } from '../rows.js'
import type { RowKind } from './kind.js'

const judgement = formsFor<'label'>('`--objective kto`')

/** In a conversation the last message is the answer. The label of a good answer is 1. */
export const judged: RowKind<'label'> = {
  parts: ['prompt', 'completion', 'label'],
  needs: 'label, and messages, or prompt and completion',
  forms: [
    judgement('judgement-tokens', 'already tokenised answers (TRL)', {
      prompt: ['prompt_ids'],
      completion: ['completion_ids'],
      label: ['label'],
    }),
    judgement('judgement', 'TRL', { prompt: ['prompt'], completion: ['completion'], label: ['label'] }),
    judgement(
      'judgement-instruction',
      'LLaMA-Factory',
      { prompt: ['instruction'], completion: ['output'], label: ['kto_tag'] },
      { input: ['input'] },
    ),
    judgement('judgement-messages', 'ms-swift', { messages: ['messages'], label: ['label'] }),
  ],
  compared: { objective: 'kto', mark: 'label', documentNames: (label) => [label === 1 ? 'good' : 'bad'] },
  fits: ({ label, messages, prompt, completion }) => Boolean(label && (messages ?? (prompt && completion))),
  read(row) {
    const label = row.value('label')
    if (![true, false, 0, 1].includes(label as number)) {
      throw malformedRow(
        row.where,
        `${row.name('label')}: expected true or false but received ${quoted(label ?? null)}`,
      )
    }
    const turns = row.has('messages') && !row.hasIds('prompt') ? conversation(row) : null
    const answer = turns
      ? messagesRow(row, [...untrained(turns.slice(0, -1)), ...turns.slice(-1)])
      : comparedAnswer(row, 'completion')
    return { kind: 'compared', examples: [[answer]], label: Number(label) }
  },
}
