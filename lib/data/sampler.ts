/** Which rows an optimizer step takes. */
import { UsageError } from '../common/errors.js'
import { randomStream } from '../common/random.js'
import type { DatasetPart } from './dataset.js'

export interface SamplerOptions {
  /** Rows of the data set; at least 1. */
  rows: number
  /** Rows one after the other, whose weights say which share of an epoch's rows they have; without weights all are alike. */
  parts?: readonly SampledPart[]
  /** Rows of an optimizer step, over all ranks; at least 1. */
  batchSize: number
  seed: number | bigint
  /** A new order in every epoch; else rows in order, and from the start again after the last. */
  shuffle: boolean
  /** Epochs after which rows end; unlimited by default. */
  epochs?: number
  rank?: number
  size?: number
}

export type SampledPart = Pick<DatasetPart, 'rows' | 'weight'>

export interface SampledRow {
  /** Row of the data set. */
  index: number
  /** Place within the optimizer step, over all ranks. */
  row: number
}

/**
 * Epochs follow one another without a gap: a step may take the last rows of one and the first of the next. What a step
 * takes is a function of its number, so there is no state to save. An epoch has as many rows as the data set; of parts
 * with weights, each has its share of them, and goes on in the next epoch where it stopped: none of its rows is taken a second
 * time before each was taken once.
 */
export class Sampler {
  readonly #options: SamplerOptions

  #epoch = -1
  #order: Uint32Array | undefined
  /** The share of each part; null without weights. */
  readonly #shares: number[] | null

  constructor(options: SamplerOptions) {
    this.#options = options
    const { rows, parts = [] } = options
    this.#shares = parts.some(({ weight }) => weight !== undefined) ? sharesOf(rows, parts) : null
  }

  /** Steps until the rows end; the last may have fewer rows. */
  get steps(): number {
    return Math.ceil(this.#totalRows / this.#options.batchSize)
  }

  /** Epochs, with a fraction, that are done after `step` steps. */
  epochAfter(step: number): number {
    return Math.min(step * this.#options.batchSize, this.#totalRows) / this.#options.rows
  }

  /**
   * This rank's rows of a step.
   * @param step from 0
   */
  rowsOfStep(step: number): SampledRow[] {
    const { batchSize, rank = 0, size = 1 } = this.#options
    const rows: SampledRow[] = []
    for (let row = rank; row < batchSize; row += size) {
      const place = step * batchSize + row
      if (place < this.#totalRows) rows.push({ index: this.#rowAt(place), row })
    }
    return rows
  }

  get #totalRows(): number {
    return this.#options.rows * (this.#options.epochs ?? Number.POSITIVE_INFINITY)
  }

  #rowAt(place: number): number {
    const { rows, shuffle } = this.#options
    const epoch = Math.floor(place / rows)
    const index = place % rows
    if (!shuffle && !this.#shares) return index
    if (epoch !== this.#epoch || !this.#order) {
      this.#order = this.#shares ? this.#mixed(epoch, this.#shares) : this.#shuffled(inOrder(rows), 'shuffle', epoch)
      this.#epoch = epoch
    }
    return this.#order[index]!
  }

  #shuffled(order: Uint32Array, name: string, ...counters: number[]): Uint32Array {
    return randomStream(this.#options.seed, name, ...counters).shuffle(order)
  }

  /** The rows of an epoch: without shuffling, those of each part in order, and parts spread evenly over the epoch. */
  #mixed(epoch: number, shares: readonly number[]): Uint32Array {
    const { rows, parts = [], shuffle } = this.#options
    const taken = shares.map((share, part) => this.#rowsOfPart(part, epoch * share, share))
    const order = new Uint32Array(rows)
    const counts = shares.map(() => 0)
    const firsts = parts.map((_, part) => parts.slice(0, part).reduce((sum, before) => sum + before.rows, 0))
    for (let place = 0; place < rows; place++) {
      // The part that is furthest behind its share.
      const behind = shares.map((share, part) => share * (place + 1) - counts[part]! * rows)
      const part = behind.indexOf(Math.max(...behind))
      order[place] = firsts[part]! + taken[part]![counts[part]!]!
      counts[part]!++
    }
    return shuffle ? this.#shuffled(order, 'shuffle', epoch) : order
  }

  /** Rows of a part from its own place `start` on, over as many passes of the part as it takes. */
  #rowsOfPart(part: number, start: number, count: number): Uint32Array {
    const { rows } = this.#options.parts![part]!
    const taken = new Uint32Array(count)
    for (let done = 0; done < count; ) {
      const [pass, from] = [Math.floor((start + done) / rows), (start + done) % rows]
      const order = this.#options.shuffle ? this.#shuffled(inOrder(rows), 'part', part, pass) : inOrder(rows)
      const some = order.subarray(from, from + count - done)
      taken.set(some, done)
      done += some.length
    }
    return taken
  }
}

const inOrder = (length: number): Uint32Array => Uint32Array.from({ length }, (_, i) => i)

/**
 * Rows of an epoch that each part has: whole numbers in proportion to the weights, whose sum is `rows`.
 * @throws UsageError `bad-value` of a weight that gives no row
 */
function sharesOf(rows: number, parts: readonly SampledPart[]): number[] {
  const all = parts.reduce((sum, { weight }) => sum + (weight ?? 0), 0)
  const exact = parts.map(({ weight }) => ((weight ?? 0) / all) * rows)
  const shares = exact.map(Math.floor)
  const left = rows - shares.reduce((sum, share) => sum + share, 0)
  const byRemainder = inOrder(parts.length).sort((a, b) => exact[b]! - shares[b]! - (exact[a]! - shares[a]!))
  for (const part of byRemainder.subarray(0, left)) shares[part]!++
  const none = shares.indexOf(0)
  if (none < 0) return shares
  throw new UsageError(
    'bad-value',
    `The weight ${parts[none]!.weight} of source ${none + 1} gives it none of the ${rows} rows of an epoch: give it a larger one.`,
  )
}
