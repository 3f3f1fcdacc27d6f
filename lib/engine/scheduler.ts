/** Plans the engine's next step: a pure function of the sequences' lengths and the number of free pages. */
import { PAGE } from './pages.js'

/** The lengths of a sequence. */
interface Schedulable {
  /** Number of tokens of the prompt and the completion so far. */
  readonly length: number
  /** Number of tokens whose keys and values are computed. */
  readonly computed: number
  /** Number of allocated pages. */
  readonly allocated: number
  /** Number of tokens of the next step: a chunk in prefill, one in decode. */
  readonly chunk: number
  /** Number of tokens without context whose prefill takes as long as the chunk's. */
  readonly cost: number
}

interface Limits {
  /** Maximum number of running sequences. */
  readonly sequences: number
  /** Maximum number of running long sequences. */
  readonly longSequences: number
  /** Maximum cost of prefill in a step; one chunk is always allowed. */
  readonly prefillTokens: number
  /** Number of pages that can be allocated. */
  readonly pages: number
  /** Whether short sequences, those within `prefillTokens`, precede the prefill of long ones (`shortPrecede`). */
  readonly shortFirst: boolean
}

/** The sequences of a step. */
interface Step<Sequence> {
  /** Sequences whose next chunk is computed, the oldest first. */
  readonly scheduled: Sequence[]
  /** Scheduled sequences that were waiting. */
  readonly admitted: Sequence[]
  /** Sequences that release all pages and wait, because older sequences need the memory. */
  readonly preempted: Sequence[]
}

/** Whether a sequence is longer than the prefill of a step. */
export const isLong = ({ length }: Pick<Schedulable, 'length'>, prefillTokens: number): boolean =>
  length > prefillTokens

/** Returns the number of pages to allocate for a sequence's next chunk. */
const pagesNeeded = ({ computed, chunk, allocated }: Schedulable): number =>
  Math.max(0, Math.ceil((computed + chunk) / PAGE) - allocated)

/**
 * Plans a step. Every running sequence in decode computes its next token; if pages run out, the youngest sequence is preempted. The
 * remaining budget goes to prefill, the oldest sequence first; waiting sequences are admitted in their order. So that short prompts do
 * not wait for all long ones, they come first, unless the last step passed over the oldest long one for them.
 *
 * @param running sequences with allocated pages, the oldest first
 * @param waiting sequences that can be admitted, the oldest first
 */
export function planStep<Sequence extends Schedulable>(
  running: readonly Sequence[],
  waiting: readonly Sequence[],
  { sequences, longSequences, prefillTokens, pages, shortFirst }: Limits,
): Step<Sequence> {
  const isLongSequence = (sequence: Schedulable) => isLong(sequence, prefillTokens)
  const step: Step<Sequence> = { scheduled: [], admitted: [], preempted: [] }
  const remaining = [...running]
  let [free, budget] = [pages, prefillTokens]
  const schedule = (sequence: Sequence, cost: number) => {
    free -= pagesNeeded(sequence)
    budget -= cost
    step.scheduled.push(sequence)
  }
  const isOverBudget = ({ cost }: Schedulable) => budget < cost && budget < prefillTokens
  for (let i = 0; i < remaining.length; i++) {
    const sequence = remaining[i]!
    const isPrefill = sequence.chunk > 1
    if (isPrefill && (isOverBudget(sequence) || (shortFirst && isLongSequence(sequence)))) continue
    while (pagesNeeded(sequence) > free && remaining.length > i + 1) {
      const youngest = remaining.pop()!
      free += youngest.allocated
      step.preempted.push(youngest)
    }
    // The oldest always fits: a sequence is refused if the whole memory is too small for it.
    if (pagesNeeded(sequence) > free) continue
    schedule(sequence, isPrefill ? sequence.cost : 0)
  }
  if (step.preempted.length > 0) return step
  let long = remaining.filter(isLongSequence).length
  const admit = (candidates: readonly Sequence[]) => {
    for (const sequence of candidates) {
      if (isLongSequence(sequence) && long >= longSequences) continue
      const fits = remaining.length + step.admitted.length < sequences && pagesNeeded(sequence) <= free
      if (!fits || isOverBudget(sequence)) break
      if (isLongSequence(sequence)) long++
      step.admitted.push(sequence)
      schedule(sequence, sequence.cost)
    }
  }
  if (!shortFirst) {
    admit(waiting)
    return step
  }
  admit(waiting.filter((sequence) => !isLongSequence(sequence)))
  for (const sequence of remaining.filter(isLongSequence)) {
    if (sequence.chunk === 1 || isOverBudget(sequence) || pagesNeeded(sequence) > free) continue
    schedule(sequence, sequence.cost)
  }
  admit(waiting.filter(isLongSequence))
  return step
}

/**
 * Returns whether short sequences precede long ones in the step after a planned one: not if the planned step passed over the oldest
 * long sequence in prefill for them.
 *
 * @param candidates running and waiting sequences of the planned step, the oldest first
 */
export function shortPrecede<Sequence extends Schedulable>(
  candidates: readonly Sequence[],
  scheduled: readonly Sequence[],
  { prefillTokens, shortFirst }: Pick<Limits, 'prefillTokens' | 'shortFirst'>,
): boolean {
  const oldest = candidates.find((sequence) => sequence.chunk > 1 && isLong(sequence, prefillTokens))
  return !shortFirst || oldest === undefined || scheduled.includes(oldest)
}
