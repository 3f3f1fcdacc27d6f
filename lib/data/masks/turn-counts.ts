/** Counts of what a chat template does to the turns of conversations. */

/** Counts of turns and messages that a chat template treats in a way that a user should know of. */
export interface TurnCounts {
  /** Turns whose opening in the conversation differs from the generation prompt (thinking blocks). */
  foreignOpenings: number
  /** Turns that are trained without an end token: another one of the assistant's follows, or the template's marks leave it out. */
  openEnds: number
  /** Turns that nothing follows and that the template leaves open: the token that ends such a turn elsewhere is added and trained. */
  addedEnds: number
  /** Turns whose tool calls the template leaves out. */
  droppedCalls: number
  /** Turns whose reasoning, or another part of whose content, the template leaves out. */
  droppedReasoning: number
  /** Turns that are not trained, since the template writes nothing of what they say. */
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
