/** Counts of tokenised data, and notes about it for the user. */
import { InputError } from '../common/errors.js'
import type { TurnCounts } from './masks/chat-turns.js'

/** Counts of how a template rendered conversations. */
export interface ChatCounts extends TurnCounts {
  /** Conversations whose tools the template leaves out. */
  droppedTools: number
}

/** Counts of tokenised data. */
export interface DataSummary extends ChatCounts {
  /** Rows of the data set; a long text becomes several. */
  rows: number
  /** Tokens of all rows. */
  tokens: number
  /** Tokens that are predicted and trained. */
  targetTokens: number
  /** Rows that were cut to `maxLength`. */
  truncated: number
  /** Rows in which nothing is trained. */
  withoutTarget: number
  /** Rows that were left out because of that. */
  dropped: number
  /** For some of the counts, the place of the first row. */
  first: Partial<Record<keyof ChatCounts, string>>
  /** Control tokens that are trained as targets. */
  trainedSpecialTokens: {
    /** Its id. */
    id: number
    /** Its spelling, such as `<|im_end|>`. */
    token: string
    /** How often it is a target. */
    count: number
  }[]
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
  droppedTools: 0,
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

/** Returns notes for the user about the rows and how the template rendered them. */
export function summaryNotes(summary: DataSummary): string[] {
  const { dropped, truncated } = summary
  return [
    ...(dropped > 0 ? [`${dropped} rows in which nothing is trained were left out.`] : []),
    ...(truncated > 0
      ? [
          `${truncated} rows were longer than maxLength and lost the start of their prompt (or the end of the answer where that alone was too long).`,
        ]
      : []),
    ...chatNotes(summary),
  ]
}

/** Returns notes for the user about how the template rendered the rows. */
function chatNotes(summary: DataSummary): string[] {
  const { foreignOpenings, openEnds, droppedCalls, droppedMessages, droppedTools, first } = summary
  const notes: [count: number, note: string][] = [
    [
      foreignOpenings,
      `the chat template opens ${foreignOpenings} of the assistant's turns differently from the way it prompts for one (a thinking block?).`,
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
    [
      droppedTools,
      `the chat template shows nothing of the tools of ${droppedTools} conversations (first: ${first.droppedTools}); name a template that knows tools (the option template).`,
    ],
  ]
  return notes.filter(([count]) => count > 0).map(([, note]) => note)
}
