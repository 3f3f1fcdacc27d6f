/** Counts of tokenised data, and notes about it for the user. */

import { InputError } from '../../common/errors.js'
import { optionName, theOption } from '../../common/option-names.js'
import { counted, were } from '../../common/printable.js'
import { WHY_LEFT_OUT, type WhyLeftOut } from '../../rows/logged/call.js'
import { noCounts } from '../../text/masks/turn-texts.js'
import type { Tokenizer } from '../../text/tokenizer.js'
import type { ChatCounts, EncodedRow } from './encode.js'
import { type Example, isPredicted } from './example.js'
import { type LongRowCounts, noLongRows } from './long-rows.js'

/** Counts of rows by their length, and of those without any. */
export interface LengthCounts {
  /** Tokens of the longest row, before anything was cut. */
  longest: number
  /** Rows of more than `maxLength` tokens that were cut or split. */
  truncated: number
  /** Counts of the changes to rows of more than `maxLength` tokens. */
  cut: LongRowCounts
  /** Logged calls that were left out, by the reason; absent if there are none. */
  leftOut?: Partial<Record<WhyLeftOut, number>>
}

export const noLengths = (): LengthCounts => ({ longest: 0, truncated: 0, cut: noLongRows() })

/** Counts of tokenised data. */
export interface DataSummary extends ChatCounts, LengthCounts {
  /** Rows of the data set; a long text becomes several. */
  rows: number
  /** Tokens of all rows. */
  tokens: number
  /** Tokens that are predicted and trained. */
  targetTokens: number
  /** Rows without targets. */
  withoutTarget: number
  /** Rows that were left out for lack of targets. */
  dropped: number
  /** Rows that `filter` left out. */
  filtered: number
  /** The place of the first counted row, for some of the counts. */
  first: Partial<Record<keyof ChatCounts | 'leftOut', string>>
  /** Control tokens that are trained as targets. */
  trainedSpecialTokens: {
    /** Id. */
    id: number
    /** Spelling, such as `<|im_end|>`. */
    token: string
    /** Number of times that the token is a target. */
    count: number
  }[]
}

export const emptySummary = (): DataSummary => ({
  rows: 0,
  tokens: 0,
  targetTokens: 0,
  ...noLengths(),
  withoutTarget: 0,
  dropped: 0,
  filtered: 0,
  ...noCounts(),
  droppedTools: 0,
  arrowNulls: 0,
  first: {},
  trainedSpecialTokens: [],
})

export function addChat(summary: DataSummary, counts: Partial<ChatCounts>, where: string): void {
  for (const [key, count = 0] of Object.entries(counts) as [keyof ChatCounts, number | undefined][]) {
    if (count === 0) continue
    summary[key] += count
    summary.first[key] ??= where
  }
}

const countLeftOut = ({ leftOut = {} }: LengthCounts): number =>
  Object.values(leftOut).reduce((sum, count) => sum + count, 0)

/** Counts a row, and the effect of the token limit on it or why it is left out. */
export function addLength(counts: LengthCounts, { length, rows, cut, leftOut }: EncodedRow): void {
  counts.longest = Math.max(counts.longest, length)
  if (leftOut) counts.leftOut = { ...counts.leftOut, [leftOut]: (counts.leftOut?.[leftOut] ?? 0) + 1 }
  if (!cut) return
  if (rows.length > 0) counts.truncated++
  for (const [key, count = 0] of Object.entries(cut)) {
    const name = key as keyof LongRowCounts
    counts.cut[name] = (counts.cut[name] ?? 0) + count
  }
}

/** @throws InputError `empty-data`, `nothing-to-train` */
export function requireRows(
  summary: DataSummary,
  name: string,
  { keepWithoutTarget = false }: { keepWithoutTarget?: boolean } = {},
): void {
  const { rows, withoutTarget, dropped, targetTokens, filtered, cut } = summary
  const all = withoutTarget + filtered + cut.dropped + cut.questions + (cut.over ?? 0) + countLeftOut(summary)
  if (rows === 0 && all === 0) throw new InputError('empty-data', `${name}: no row was found.`)
  if (targetTokens > 0 || (keepWithoutTarget && (rows > 0 || dropped === 0))) return
  throw new InputError(
    'nothing-to-train',
    `${name}: nothing would be trained in any of its ${counted(all, 'row')} (${untrainedReasons(summary)}).`,
  )
}

/** Returns the reasons why some rows have no targets. */
export function untrainedReasons({ withoutTarget, filtered, cut, leftOut }: DataSummary): string {
  const reasons = [
    ...(leftOut ? [`logged calls ${leftOutReasons(leftOut)}`] : []),
    ...(filtered > 0 ? ['left out by filter'] : []),
    ...(withoutTarget > 0
      ? [
          `no assistant's turn, all labels ${-100}, answers that are empty, turns that the chat template leaves out, or weights of 0`,
        ]
      : []),
    ...(cut.questions > 0 ? [`questions of ${optionName('maxLength')} tokens or more`] : []),
    ...(cut.dropped > 0 ? [`more than ${optionName('maxLength')} tokens, with ${optionName('longRows', 'drop')}`] : []),
    ...(cut.over ? [`more than ${optionName('maxTokens')} tokens`] : []),
  ]
  return reasons.join('; ')
}

const leftOutReasons = (counts: Partial<Record<WhyLeftOut, number>>): string =>
  Object.entries(counts)
    .map(([reason, count]) => `${WHY_LEFT_OUT[reason as WhyLeftOut]}: ${count}`)
    .join(', ')

/** Returns notes for the user about the rows and how the template rendered them. */
export function summaryNotes(summary: DataSummary): string[] {
  const { dropped, cut, first } = summary
  const { over = 0 } = cut
  const long = longRowsNote(summary)
  const calls = leftOutNote(summary, first.leftOut)
  return [
    ...(dropped > 0 ? [`${counted(dropped, 'row')} in which nothing is trained ${were(dropped)} left out.`] : []),
    ...(over > 0
      ? [`${counted(over, 'row')} of more than ${optionName('maxTokens')} tokens ${were(over)} left out.`]
      : []),
    ...(calls === undefined ? [] : [`${calls}.`]),
    ...(long === undefined ? [] : [`${long}; ${theOption('longRows')} chooses the part to keep.`]),
    ...chatNotes(summary),
  ]
}

/** Returns a sentence, without its full stop, about logged calls that were left out; undefined if none was. @param first the first's place */
export function leftOutNote(counts: LengthCounts, first?: string): string | undefined {
  const count = countLeftOut(counts)
  if (count === 0) return undefined
  const place = first === undefined ? '' : `; first: ${first}`
  return `${counted(count, 'logged call')} ${were(count)} left out (${leftOutReasons(counts.leftOut!)}${place})`
}

/** Returns a sentence, without its full stop, about rows that were too long; undefined if none was. */
export function longRowsNote({ truncated, longest, cut }: LengthCounts): string | undefined {
  const { turns, inside, split, into, dropped, questions } = cut
  const count = truncated + dropped + questions
  if (count === 0) return undefined
  const parts = [
    ...(turns > 0 ? [`${turns} lost whole turns`] : []),
    ...(inside > 0 ? [`${inside} lost a part of a turn`] : []),
    ...(split > 0 ? [`${split} became ${into} rows`] : []),
    ...(dropped > 0 ? [`${dropped} ${were(dropped)} left out`] : []),
    ...(questions > 0 ? [`${questions} ${were(questions)} left out, since no part of an answer fits`] : []),
  ]
  const what = parts.length > 0 ? `: ${parts.join(', ')}` : ''
  return `${counted(count, 'row')} had more than ${optionName('maxLength')} tokens (the longest ${longest})${what}`
}

/** Returns notes for the user about how the template rendered the rows. */
function chatNotes(summary: DataSummary): string[] {
  const {
    foreignOpenings,
    openEnds,
    addedEnds,
    droppedCalls,
    droppedReasoning,
    silentTurns,
    droppedMessages,
    droppedTools,
    arrowNulls,
    first,
  } = summary
  const notes: [count: number, note: string][] = [
    [
      foreignOpenings,
      `the chat template opens ${foreignOpenings} of the assistant's turns differently from its generation prompt (a thinking block?).`,
    ],
    [
      openEnds,
      `${openEnds} of the assistant's turns are trained without a token that ends them (first: ${first.openEnds}), so these do not teach the model to stop: another one of the assistant's follows, or the chat template's marks leave the token out.`,
    ],
    [
      addedEnds,
      `the chat template ends ${addedEnds} of the assistant's turns, which are the last of their rows, with no token (first: ${first.addedEnds}): the one that ends such a turn before another message was added and is trained.`,
    ],
    [
      droppedCalls,
      `the chat template leaves out calls of ${droppedCalls} of the assistant's turns (first: ${first.droppedCalls}), so only the rest of such a turn is trained; name a template that knows tools (${theOption('template')}).`,
    ],
    [
      droppedReasoning,
      `the chat template leaves out reasoning, or another part of the content, of ${droppedReasoning} of the assistant's turns (first: ${first.droppedReasoning}), which are trained without it; name a template that prints it (${theOption('template')}), write reasoning of a field into the content, or end a row with each such turn.`,
    ],
    [
      silentTurns,
      `the chat template leaves out the content of ${silentTurns} of the assistant's turns (first: ${first.silentTurns}), so these are not trained.`,
    ],
    [
      droppedMessages,
      `the chat template leaves out ${counted(droppedMessages, 'message')} (first: ${first.droppedMessages}).`,
    ],
    [
      droppedTools,
      `the chat template leaves out the tools of ${counted(droppedTools, 'conversation')} (first: ${first.droppedTools}); name a template that knows tools (${theOption('template')}).`,
    ],
    [
      arrowNulls,
      `schemas or calls of functions hold nulls in ${counted(arrowNulls, 'conversation')} (first: ${first.arrowNulls}), as Arrow writes them for keys that only other rows have, and the template prints them: give the data set as Parquet, or rows without these keys.`,
    ],
  ]
  return notes.filter(([count]) => count > 0).map(([, note]) => note)
}

/** Counts the special tokens that are targets. */
export class SpecialTargets {
  readonly #counts = new Map<number, number>()

  constructor(readonly tokenizer: Tokenizer | null) {}

  add({ documents }: Example): void {
    if (!this.tokenizer) return
    const { specialIds } = this.tokenizer
    for (const { ids, mask } of documents) {
      for (let i = 1; i < ids.length; i++) {
        const id = ids[i]!
        if (isPredicted(mask, i) && specialIds.has(id)) this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1)
      }
    }
  }

  /** Returns the counts, in the order of the ids. */
  counts(): DataSummary['trainedSpecialTokens'] {
    return [...this.#counts]
      .sort(([a], [b]) => a - b)
      .map(([id, count]) => ({ id, token: this.tokenizer?.tokenOf(id) ?? '', count }))
  }
}
