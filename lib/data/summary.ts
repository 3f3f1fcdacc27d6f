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
