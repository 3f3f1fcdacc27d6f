/** What tokenised data is, in figures, and what a user should know of it. */
import { InputError } from '../errors.js'
import type { TurnCounts } from './masks/chat-turns.js'

export interface DataSummary extends TurnCounts {
  /** Rows of the data set; a long text makes several. */
  rows: number
  tokens: number
  /** Tokens that are predicted and trained. */
  targetTokens: number
  /** Rows that lost tokens to `maxLength`. */
  truncated: number
  /** Rows in which nothing is trained. */
  withoutTarget: number
  /** Rows left out for that. */
  dropped: number
  /** Where the first of some were found. */
  first: Partial<Record<keyof TurnCounts, string>>
  /** Control tokens that are trained as targets. */
  trainedSpecialTokens: { id: number; token: string; count: number }[]
}

export const emptySummary = (): DataSummary => ({
  rows: 0,
  tokens: 0,
  targetTokens: 0,
  truncated: 0,
  withoutTarget: 0,
  dropped: 0,
  foreignOpenings: 0,
  openEnds: 0,
  droppedCalls: 0,
  droppedMessages: 0,
  first: {},
  trainedSpecialTokens: [],
})

export function addTurns(summary: DataSummary, turns: TurnCounts, where: string): void {
  for (const key of Object.keys(turns) as (keyof TurnCounts)[]) {
    if (turns[key] === 0) continue
    summary[key] += turns[key]
    summary.first[key] ??= where
  }
}

/** @throws InputError `empty-data`, `nothing-to-train` */
export function requireRows(
  { rows, withoutTarget, targetTokens }: DataSummary,
  name: string,
  { keepWithoutTarget = false }: { keepWithoutTarget?: boolean },
): void {
  if (rows === 0 && withoutTarget === 0) throw new InputError('empty-data', `${name}: no row was found.`)
  if (targetTokens > 0 || keepWithoutTarget) return
  throw new InputError(
    'nothing-to-train',
    `${name}: nothing would be trained in any of its ${withoutTarget} rows (no assistant's turn, all labels ${-100}, or answers that are empty).`,
  )
}

/** What the user should know of the rows and of how the template took them. */
export function notesOf(summary: DataSummary): string[] {
  const { dropped, truncated } = summary
  return [
    ...(dropped > 0 ? [`${dropped} rows in which nothing is trained were left out.`] : []),
    ...(truncated > 0
      ? [
          `${truncated} rows were longer than max-length and lost the start of their prompt (or the end of the answer where that alone was too long).`,
        ]
      : []),
    ...turnNotes(summary),
  ]
}

/** What the user should know of how the template took the rows. */
function turnNotes(summary: DataSummary): string[] {
  const { foreignOpenings, openEnds, droppedCalls, droppedMessages, first } = summary
  const notes: [count: number, note: string][] = [
    [
      foreignOpenings,
      `the chat template opens ${foreignOpenings} of the assistant's turns otherwise than it prompts for one (a thinking block?).`,
    ],
    [
      openEnds,
      `the chat template ends ${openEnds} of the assistant's turns with no token (first: ${first.openEnds}), so these do not teach the model to stop.`,
    ],
    [
      droppedCalls,
      `the chat template leaves out calls of ${droppedCalls} of the assistant's turns (first: ${first.droppedCalls}): what is trained of these is the rest, or their end alone; name a template that knows tools (the option template).`,
    ],
    [
      droppedMessages,
      `the chat template shows nothing of ${droppedMessages} messages (first: ${first.droppedMessages}).`,
    ],
  ]
  return notes.filter(([count]) => count > 0).map(([, note]) => note)
}
