/** Pairs: a chosen and a rejected answer to a prompt. */
import { isDeepStrictEqual } from 'node:util'
import { quoted } from '../../common/errors.js'
import { theOption } from '../../common/option-names.js'
import { malformedRow } from '../check.js'
import { type Turn, turnsOf } from '../conversation.js'
import type { FormedRow } from '../formed-row.js'
import { formsFor, type RowForm } from '../forms.js'
import { answerTurns, comparedAnswer, messagesRow, opening, type Row, untrained } from '../rows.js'
import type { RowKind } from './kind.js'

type PairPart = 'chosen' | 'rejected' | 'margin'

const compared = formsFor<PairPart>('`--objective dpo` and others of pairs')

/** A prompt and two answers; without a prompt column, the answers begin with the prompt. */
const preference = (
  name: string,
  madeFor: string,
  columns: RowForm<PairPart>['columns'],
  optional: RowForm<PairPart>['optional'] = {},
) => compared(name, madeFor, columns, { margin: ['margin'], ...optional })

/** A margin by which the chosen answer is better is the label. */
export const pairs: RowKind<PairPart> = {
  parts: ['prompt', 'chosen', 'rejected'],
  needs: 'chosen and rejected, and their prompt unless they begin with it',
  forms: [
    preference('preference-tokens', 'already tokenised pairs (TRL)', {
      prompt: ['prompt_ids'],
      chosen: ['chosen_ids'],
      rejected: ['rejected_ids'],
    }),
    preference('preference', 'TRL, OpenRLHF', { prompt: ['prompt'], chosen: ['chosen'], rejected: ['rejected'] }),
    preference('preference-question', 'Orca pairs', {
      prompt: ['question'],
      chosen: ['chosen'],
      rejected: ['rejected'],
    }),
    preference(
      'preference-instruction',
      'LLaMA-Factory',
      { prompt: ['instruction'], chosen: ['chosen'], rejected: ['rejected'] },
      { input: ['input'] },
    ),
    preference('preference-sharegpt', 'LLaMA-Factory', {
      prompt: ['conversations'],
      chosen: ['chosen'],
      rejected: ['rejected'],
    }),
    preference('preference-openai', 'OpenAI', {
      prompt: ['input.messages'],
      chosen: ['preferred_output'],
      rejected: ['non_preferred_output'],
    }),
    preference('preference-messages', 'ms-swift', { chosen: ['messages'], rejected: ['rejected_messages'] }),
    preference('preference-implicit', 'answers that begin with their prompt (TRL, HH-RLHF)', {
      chosen: ['chosen'],
      rejected: ['rejected'],
    }),
  ],
  mayLack: ['margin'],
  compared: { objective: 'dpo', mark: 'chosen', documentNames: () => ['chosen', 'rejected'] },
  fits: ({ chosen, rejected }) => Boolean(chosen && rejected),
  read(row) {
    const parts = ['chosen', 'rejected'] as const
    const answers = row.hasIds('prompt') ? undefined : impliedPrompt(row)
    const margin = row.has('margin') ? row.value('margin') : undefined
    if (margin !== undefined && !Number.isFinite(margin))
      throw malformedRow(row.where, `${row.name('margin')}: expected a number but received ${quoted(margin)}`)
    return {
      kind: 'compared',
      examples: [answers ?? parts.map((part) => comparedAnswer(row, part))],
      ...(margin !== undefined && { label: margin as number }),
    }
  },
}

/** Returns two answers that begin with their prompt; undefined if they do not. */
function impliedPrompt(row: FormedRow<PairPart>): Row[] | undefined {
  const areTexts = row.isText('chosen') && row.isText('rejected')
  if (row.has('prompt') && (areTexts || !row.isText('prompt'))) return undefined
  const answers = areTexts ? afterText(row) : afterMessages(row)
  if (answers || row.has('prompt')) return answers
  throw malformedRow(
    row.where,
    `${row.name('chosen')} and ${row.name('rejected')} have no beginning in common that would be their prompt; give it in a column (${theOption('columns', { prompt: 'COLUMN' })})`,
  )
}

/** Splits two texts after their last common whole word; white space belongs to the answers. */
function afterText(row: FormedRow<PairPart>): Row[] | undefined {
  const [chosen, rejected] = [row.text('chosen'), row.text('rejected')]
  let same = 0
  while (same < chosen.length && chosen[same] === rejected[same]) same++
  const end = chosen.slice(0, same).search(/\s+\S*$/)
  if (end <= 0) return undefined
  return [chosen, rejected].map((text) => ({
    kind: 'completion',
    prompt: text.slice(0, end),
    completion: text.slice(end),
    isText: true,
  }))
}

/** Splits two conversations after their common messages. */
function afterMessages(row: FormedRow<PairPart>): Row[] | undefined {
  const both = (['chosen', 'rejected'] as const).map((part) =>
    row.isText(part) ? answerTurns(row, part) : turnsOf(row.list(part)),
  )
  const most = Math.min(...both.map(({ length }) => length)) - 1
  const isSame = ([a, b]: readonly Turn[][], i: number) => isDeepStrictEqual(a![i]!.message, b![i]!.message)
  let same = 0
  while (same < most && isSame(both, same)) same++
  if (same === 0) return undefined
  return both.map((turns) => messagesRow(row, [...opening(row, untrained(turns.slice(0, same))), ...turns.slice(same)]))
}
