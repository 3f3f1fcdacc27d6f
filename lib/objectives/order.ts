/** Pairs of a step in the order of their log-probabilities, which losses of AOT (arXiv 2406.05882) compare. */
import { type Batch, rowOfDocument } from '../batches/batch.js'

/** Numbers per pair: whether the pair exists, ln π of the chosen and the rejected answer, and ln π − ln π_ref of both. */
const OF_PAIR = 5

/** Returns the number of numbers of a step of pairs. */
export const lengthOfStep = (pairs: number): number => OF_PAIR * pairs

/** Returns the first document of each pair of a batch. */
export const firstsIn = ({ rows }: Batch): number[] => Array.from({ length: rows / 2 }, (_, pair) => 2 * pair)

/** Returns the place in the step of each pair of a batch. */
export const placesIn = (batch: Batch): number[] => firstsIn(batch).map((first) => rowOfDocument(batch, first))

/**
 * Returns the numbers of all pairs of a step, zero for pairs of other batches, so that the numbers of all batches add up.
 *
 * @param values ln π of the chosen and then of the rejected answers, and ln π − ln π_ref of both, each in the order of `places`
 */
export function numbersOfStep(values: readonly number[], places: readonly number[], pairs: number): number[] {
  const numbers = new Array<number>(lengthOfStep(pairs)).fill(0)
  for (const [i, place] of places.entries()) {
    const own = [0, 1, 2, 3].map((part) => values[part * places.length + i]!)
    numbers.splice(OF_PAIR * place, OF_PAIR, 1, ...own)
  }
  return numbers
}

/** The values that pairs are compared with, by pair. */
export interface Matches {
  /** The margin of its reference, less the margin with its rank among the margins of the references. */
  readonly margins: readonly number[]
  /** The reward of the rejected answer that has the rank of its chosen one. */
  readonly rejected: readonly number[]
  /** The reward of the chosen answer that has the rank of its rejected one. */
  readonly chosen: readonly number[]
}

/** Returns the values that the pairs at these indices of the step are compared with. */
export function matchesIn(numbers: readonly number[], places: readonly number[]): Matches {
  const all = Array.from({ length: numbers.length / OF_PAIR }, (_, place) => place)
  const there = all.filter((place) => numbers[OF_PAIR * place]! > 0)
  const number = (which: number) => (place: number) => numbers[OF_PAIR * place + which]!
  const [policyChosen, policyRejected, chosen, rejected] = [number(1), number(2), number(3), number(4)]
  const policy = (place: number) => policyChosen(place) - policyRejected(place)
  const reference = (place: number) => policy(place) - (chosen(place) - rejected(place))
  /** Returns for each pair the value of `to` with the rank that the pair has by `from`. */
  const matched = (from: (place: number) => number, to: (place: number) => number): number[] => {
    const order = [...there].sort((a, b) => from(a) - from(b) || a - b)
    const values = there.map(to).sort((a, b) => a - b)
    const ranks = new Map(order.map((place, rank) => [place, rank]))
    return places.map((place) => values[ranks.get(place)!]!)
  }
  const margins = matched(policy, reference)
  return {
    margins: places.map((place, i) => reference(place) - margins[i]!),
    rejected: matched(chosen, rejected),
    chosen: matched(rejected, chosen),
  }
}
