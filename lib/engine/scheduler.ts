/** Decides what the next step of the engine reads: a function of sequences' lengths and of free pages, which knows no tensors. */
import { PAGE } from './pages.js'

/** What the scheduler knows of a sequence. */
export interface Schedulable {
  /** Number of its tokens that are known: those of the prompt and the new ones. */
  readonly length: number
  /** Number of its tokens that were read. */
  readonly read: number
  /** Number of pages that it holds. */
  readonly held: number
  /** The next tokens that are read at once: a piece of a prompt, or one. */
  readonly next: number
}

export interface Limits {
  /** The most sequences that are read beside each other. */
  readonly sequences: number
  /** Tokens of prompts in a step; at least one piece is read. */
  readonly promptTokens: number
  /** Pages that can be taken. */
  readonly pages: number
}

/** The sequences of a step. */
export interface Step<Sequence> {
  /** Sequences of which `next` tokens are read, the oldest first. */
  readonly reading: Sequence[]
  /** Sequences that begin in this step, of those waiting: they are among the reading ones. */
  readonly admitted: Sequence[]
  /** Sequences that give back all pages and wait, since others that came before them need the memory. */
  readonly paused: Sequence[]
}

/** Returns the number of pages that a sequence takes to read its next tokens. */
const pagesTaken = ({ read, next, held }: Schedulable): number => Math.max(0, Math.ceil((read + next) / PAGE) - held)

/**
 * Plans a step. Every running sequence reads its next token, if pages for it are left: else the youngest gives back its own. In
 * what is left of the step's tokens, pieces of prompts are read, the oldest sequence's first; sequences that wait begin in
 * their order.
 *
 * @param running sequences that hold pages, the oldest first
 * @param waiting sequences that may begin, the oldest first
 */
export function planStep<Sequence extends Schedulable>(
  running: readonly Sequence[],
  waiting: readonly Sequence[],
  { sequences, promptTokens, pages }: Limits,
): Step<Sequence> {
  const step: Step<Sequence> = { reading: [], admitted: [], paused: [] }
  const left = [...running]
  let [free, budget] = [pages, promptTokens]
  for (let i = 0; i < left.length; i++) {
    const sequence = left[i]!
    const isPiece = sequence.next > 1
    if (isPiece && budget < sequence.next && budget < promptTokens) continue
    while (pagesTaken(sequence) > free && left.length > i + 1) {
      const youngest = left.pop()!
      free += youngest.held
      step.paused.push(youngest)
    }
    // The oldest always fits: a sequence is refused if the whole memory is too small for it.
    if (pagesTaken(sequence) > free) continue
    free -= pagesTaken(sequence)
    if (isPiece) budget -= sequence.next
    step.reading.push(sequence)
  }
  if (step.paused.length > 0) return step
  for (const sequence of waiting) {
    const fits = left.length + step.admitted.length < sequences && pagesTaken(sequence) <= free
    if (!fits || (budget < sequence.next && budget < promptTokens)) break
    free -= pagesTaken(sequence)
    budget -= sequence.next
    step.admitted.push(sequence)
    step.reading.push(sequence)
  }
  return step
}
