/** Which rows an optimizer step takes. */
import { UsageError } from '../errors.js'
import { randomStream } from '../random.js'

export interface SamplerOptions {
  /** Rows of the data set; at least 1. */
  rows: number
  /** Rows of an optimizer step, over all ranks. */
  batchSize: number
  seed: number | bigint
  /** A new order in every epoch; else rows in order, and from the start again after the last. */
  shuffle: boolean
  /** Epochs after which rows end; unlimited by default. */
  epochs?: number
  rank?: number
  size?: number
}

export interface SampledRow {
  /** Row of the data set. */
  index: number
  /** Place within the optimizer step, over all ranks. */
  row: number
}

/**
 * Epochs follow one another without a gap: a step may take the last rows of one and the first of the next. What a step
 * takes is a function of its number, so there is no state to save.
 */
export class Sampler {
  private epoch = -1
  private order: Uint32Array | undefined

  constructor(private readonly options: SamplerOptions) {
    for (const name of ['rows', 'batchSize'] as const) {
      const value = options[name]
      if (!Number.isInteger(value) || value < 1) {
        throw new UsageError('bad-option', `Expected a positive integer for ${name} but received ${value}.`)
      }
    }
  }

  /** Steps until the rows end; the last may have fewer rows. */
  get steps(): number {
    return Math.ceil(this.totalRows / this.options.batchSize)
  }

  /** Epochs, with a fraction, that are done after `step` steps. */
  epochAfter(step: number): number {
    return Math.min(step * this.options.batchSize, this.totalRows) / this.options.rows
  }

  /**
   * This rank's rows of a step.
   * @param step from 0
   */
  rowsOfStep(step: number): SampledRow[] {
    const { batchSize, rank = 0, size = 1 } = this.options
    const rows: SampledRow[] = []
    for (let row = rank; row < batchSize; row += size) {
      const place = step * batchSize + row
      if (place < this.totalRows) rows.push({ index: this.rowAt(place), row })
    }
    return rows
  }

  private get totalRows(): number {
    return this.options.rows * (this.options.epochs ?? Number.POSITIVE_INFINITY)
  }

  private rowAt(place: number): number {
    const { rows, shuffle, seed } = this.options
    const epoch = Math.floor(place / rows)
    const index = place % rows
    if (!shuffle) return index
    if (epoch !== this.epoch || !this.order) {
      this.order = randomStream(seed, 'shuffle', epoch).shuffle(Uint32Array.from({ length: rows }, (_, i) => i))
      this.epoch = epoch
    }
    return this.order[index]!
  }
}
