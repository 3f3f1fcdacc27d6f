/**
 * Rows for objectives that compare: pairs with a preferred completion, completions judged good or bad, and texts with labels.
 */
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { quoted } from '../../common/errors.js'
import { theOption } from '../../common/option-names.js'
import { checked, malformedRow } from './check.js'
import { type Turn, turnsOf } from './conversation.js'
import type { FormedRow } from './formed-row.js'
import type { LabelNames } from './labels.js'
import {
  type AnswersRow,
  answeredRow,
  answerTurns,
  conversation,
  IGNORED_LABEL,
  type LabelledRow,
  messagesRow,
  opening,
  promptRow,
  type Row,
  untrained,
} from './rows.js'

/**
 * Returns the chosen and the rejected answer, each with the prompt. The default prompt is the text that both begin with.
 * @throws InputError `malformed-row`
 */
export function pairRow(row: FormedRow): AnswersRow {
  const parts = ['chosen', 'rejected'] as const
  const answers = isTokenised(row) ? parts.map((part) => tokenisedAnswer(row, part)) : impliedPrompt(row)
  const margin = row.has('margin') ? row.value('margin') : undefined
  if (margin !== undefined && !Number.isFinite(margin))
    throw malformedRow(row.where, `${row.name('margin')}: expected a number but received ${quoted(margin)}`)
  return {
    kind: 'answers',
    answers: answers ?? parts.map((part) => answeredRow(row, part)),
    ...(margin !== undefined && { label: margin as number }),
  }
}

/**
 * Returns a text and the number of its label. A prompt alone is a user's turn; a prompt and its answer are a conversation.
 * @throws InputError `malformed-row`
 */
export function labelledRow(row: FormedRow, labels: LabelNames): LabelledRow {
  const label = labels.numberOf(row.value('label'), row.name('label'), row.where)
  return { kind: 'labelled', of: labelledText(row), label }
}

function labelledText(row: FormedRow): Row {
  if (row.has('text')) return { kind: 'text', text: row.text('text') }
  if (row.has('completion')) return answeredRow(row, 'completion')
  if (row.has('messages')) return messagesRow(row, conversation(row))
  const { prompt, messages, ...context } = promptRow(row)
  if (prompt !== undefined) return { kind: 'completion', prompt, completion: '' }
  return { kind: 'messages', messages: messages!, ...context }
}

/**
 * Returns an answer with its prompt and judgement. In a conversation the last message is the answer.
 * @throws InputError `malformed-row`
 */
export function judgedRow(row: FormedRow): AnswersRow {
  const label = row.value('label')
  if (![true, false, 0, 1].includes(label as number)) {
    throw malformedRow(row.where, `${row.name('label')}: expected true or false but received ${quoted(label ?? null)}`)
  }
  return { kind: 'answers', answers: [judgedAnswer(row)], label: Number(label) }
}

function judgedAnswer(row: FormedRow): Row {
  if (isTokenised(row)) return tokenisedAnswer(row, 'completion')
  if (!row.has('messages')) return answeredRow(row, 'completion')
  const turns = conversation(row)
  return messagesRow(row, [...untrained(turns.slice(0, -1)), ...turns.slice(-1)])
}

/** Returns two answers that begin with their prompt; undefined if they do not. */
function impliedPrompt(row: FormedRow): Row[] | undefined {
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
function afterText(row: FormedRow): Row[] | undefined {
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
function afterMessages(row: FormedRow): Row[] | undefined {
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

const isTokenised = (row: FormedRow): boolean => {
  const prompt = row.value('prompt')
  return Array.isArray(prompt) && typeof prompt[0] === 'number'
}

function tokenisedAnswer(row: FormedRow, part: 'completion' | 'chosen' | 'rejected'): Row {
  const wholes = (name: string): number[] =>
    checked(z.object({ [name]: z.array(z.int32().min(0)) }), { [name]: row.columns.value(name) }, row.where)[name]!
  const [prompt, answer] = [wholes(row.name('prompt')), wholes(row.name(part))]
  return { kind: 'tokenised', ids: [...prompt, ...answer], labels: [...prompt.map(() => IGNORED_LABEL), ...answer] }
}
