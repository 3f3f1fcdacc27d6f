/** Counts of a chat template's changes to the turns of conversations. */

/** Counts of turns and messages that a chat template changes or leaves out. */
export interface TurnCounts {
  /** Turns whose opening in the conversation differs from the generation prompt (thinking blocks). */
  foreignOpenings: number
  /**
   * Turns that are trained without an end token, because another turn of the assistant follows or the template's marks leave
   * the token out.
   */
  openEnds: number
  /** Last turns that the template leaves open: the token that ends other turns is added and trained. */
  addedEnds: number
  /** Turns whose tool calls the template leaves out. */
  droppedCalls: number
  /** Turns whose reasoning or another part of the content is left out by the template. */
  droppedReasoning: number
  /** Turns that are not trained, since the template writes none of their content. */
  silentTurns: number
  /** Messages, of any role, that the template leaves out. */
  droppedMessages: number
}

export const noCounts = (): TurnCounts => ({
  foreignOpenings: 0,
  openEnds: 0,
  addedEnds: 0,
  droppedCalls: 0,
  droppedReasoning: 0,
  silentTurns: 0,
  droppedMessages: 0,
})
