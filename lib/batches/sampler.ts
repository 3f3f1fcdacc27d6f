/** Selects the rows of each optimizer step. */
import { UsageError } from '../common/errors.js'
import { randomStream } from '../common/random.js'
import type { DatasetPart } from './dataset.js'

export interface SamplerOptions {
  /** Rows of the data set; at least 1. */
  rows: number
  /** Consecutive parts of the rows, with weights that set each part's share of an epoch; without weights all rows are equal. */
  parts?: readonly SampledPart[]
  /** Rows of an optimizer step, over all ranks; at least 1. */
  batchSize: number
  seed: number | bigint
  /** Whether each epoch has a new random order; otherwise rows are in order. */
  shuffle: boolean
  /** Number of epochs; unlimited by default. */
  epochs?: number
  rank?: number
  size?: number
}

type SampledPart = Pick<DatasetPart, 'rows' | 'weight'>

/**
 * Selects rows by the number of the step alone, so there is no state to save. Epochs follow without a gap: a step may have the
 * last rows of one epoch and the first of the next. An epoch has as many rows as the data set. Parts with weights have their
 * share of these rows, and continue in the next epoch where they stopped: no row is repeated before every row of its part was
 * used.
 */
export class Sampler {
  readonly #options: SamplerOptions

  #epoch = -1
  #order: Uint32Array | undefined
  /** Rows of each part in an epoch; null without weights. */
  readonly #shares: number[] | null

  constructor(options: SamplerOptions) {
    this.#options = options
    const { rows, parts = [] } = options
    this.#shares = parts.some(({ weight }) => weight !== undefined) ? sharesOf(rows, parts) : null
  }

  /** Number of steps; the last may have fewer rows. */
  get steps(): number {
    return Math.ceil(this.#totalRows / this.#options.batchSize)
  }

  /** Returns the number of epochs, with a fraction, after `step` steps. */
  epochAfter(step: number): number {
    return Math.min(step * this.#options.batchSize, this.#totalRows) / this.#options.rows
  }

  /**
   * Returns this rank's rows of a step: their index in the data set, and their place within the step, over all ranks.
   * @param step from 0
   */
  rowsOfStep(step: number): { index: number; row: number }[] {
    const { batchSize, rank = 0, size = 1 } = this.#options
    const rows: ReturnType<Sampler['rowsOfStep']> = []
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

  /**
   * Returns the rows of an epoch; without shuffling, each part's rows in order, with the parts spread evenly over the epoch.
   */
  #mixed(epoch: number, shares: readonly number[]): Uint32Array {
    const { rows, parts = [], shuffle } = this.#options
    const taken = shares.map((share, part) => this.#rowsOfPart(part, epoch * share, share))
    const order = new Uint32Array(rows)
    const counts = shares.map(() => 0)
    const firsts = parts.map((_, part) => parts.slice(0, part).reduce((sum, before) => sum + before.rows, 0))
    for (let place = 0; place < rows; place++) {
      // The next row comes from the part that is furthest behind its share.
      const behind = shares.map((share, part) => share * (place + 1) - counts[part]! * rows)
      const part = behind.indexOf(Math.max(...behind))
      order[place] = firsts[part]! + taken[part]![counts[part]!]!
      counts[part]!++
    }
    return shuffle ? this.#shuffled(order, 'shuffle', epoch) : order
  }

  /** Returns `count` rows of a part from its place `start` on, over several passes of the part if necessary. */
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
 * Returns the number of rows of each part in an epoch, in proportion to the weights, with the sum `rows`.
 * @throws UsageError `bad-value` for a weight that gives no row
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
