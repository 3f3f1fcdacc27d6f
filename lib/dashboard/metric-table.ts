/** Metrics in columns, and their course reduced to a few points. */
import type { MetricValue, TablePart } from './payload.js'

/** Maximum number of points per table; a wide screen has about as many columns of pixels. */
const MOST_POINTS = 2_000

/** A growing column of numbers. */
class Column {
  #values = new Float64Array(1024)

  set(row: number, value: number): void {
    if (row === this.#values.length) {
      const larger = new Float64Array(2 * row)
      larger.set(this.#values)
      this.#values = larger
    }
    this.#values[row] = value
  }

  get(row: number): number {
    return this.#values[row]!
  }
}

type NamedColumn = readonly [name: string, column: Column]

export class MetricTable {
  rows = 0
  readonly #steps = new Column()
  readonly #columns: readonly NamedColumn[]
  readonly #positions: readonly NamedColumn[]

  /** @param positions columns of progress: a point has the value of its last row */
  constructor(names: readonly string[], positions: readonly string[] = []) {
    const columnsOf = (all: readonly string[]) => all.map((name) => [name, new Column()] as const)
    this.#columns = columnsOf(names)
    this.#positions = columnsOf(positions)
  }

  /**
   * Adds a row; values that are not numbers become NaN. Steps increase: rows of this step and later ones, from before the run
   * was resumed, are dropped first. Returns whether there were any.
   */
  add(step: number, values: Readonly<Record<string, unknown>>): boolean {
    const dropped = this.drop(step)
    this.#steps.set(this.rows, step)
    for (const [name, column] of [...this.#columns, ...this.#positions]) {
      const value = values[name]
      column.set(this.rows, typeof value === 'number' ? value : Number.NaN)
    }
    this.rows++
    return dropped
  }

  /** Drops the rows from a step on; returns whether there were any. */
  drop(step: number): boolean {
    const before = this.rows
    while (this.rows > 0 && this.#steps.get(this.rows - 1) >= step) this.rows--
    return this.rows < before
  }

  /** Returns the progress at the last row; 0 before the first. */
  position(name: string): number {
    const column = this.#positions.find(([one]) => one === name)?.[1]
    return column && this.rows > 0 ? column.get(this.rows - 1) : 0
  }

  /** Returns the points that are new to a page that knows the first `rows` rows in points of `width`. */
  since(known: { rows: number; width: number } | null): TablePart {
    const width = pointWidth(this.rows)
    const goesOn = known !== null && known.width === width && known.rows <= this.rows
    const from = goesOn ? Math.floor(known.rows / width) : 0
    const ends: number[] = []
    for (let start = from * width; start < this.rows; start += width) ends.push(Math.min(start + width, this.rows))
    const starts = ends.map((_, i) => (from + i) * width)
    return {
      rows: this.rows,
      width,
      from,
      steps: ends.map((end) => this.#steps.get(end - 1)),
      at: Object.fromEntries(
        this.#positions.map(([name, column]) => [name, ends.map((end) => finite(column.get(end - 1)))]),
      ),
      metrics: Object.fromEntries(this.#columns.map(([name, column]) => [name, bandOf(column, starts, ends, width)])),
      last: this.#last(),
    }
  }

  #last(): TablePart['last'] {
    const row = this.rows - 1
    if (row < 0) return null
    const values = [...this.#columns, ...this.#positions].map(([name, column]) => [name, finite(column.get(row))])
    return { step: this.#steps.get(row), values: Object.fromEntries(values) }
  }
}

/** The smallest power of two with few enough points: it changes rarely, so that most points stay the same. */
export function pointWidth(rows: number): number {
  return 2 ** Math.max(0, Math.ceil(Math.log2(rows / MOST_POINTS)))
}

function bandOf(
  column: Column,
  starts: readonly number[],
  ends: readonly number[],
  width: number,
): TablePart['metrics'][string] {
  const points = starts.map((start, i) => pointOf(column, start, ends[i]!))
  const mean = points.map((point) => point.mean)
  if (width === 1) return { mean }
  return { mean, low: points.map(({ low }) => low), high: points.map(({ high }) => high) }
}

/** Summarises the finite values of some rows. */
function pointOf(
  column: Column,
  start: number,
  end: number,
): { mean: MetricValue; low: MetricValue; high: MetricValue } {
  let [sum, count, low, high] = [0, 0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (let row = start; row < end; row++) {
    const value = column.get(row)
    if (!Number.isFinite(value)) continue
    sum += value
    count++
    low = Math.min(low, value)
    high = Math.max(high, value)
  }
  if (count === 0) return { mean: null, low: null, high: null }
  return { mean: short(sum / count), low: short(low), high: short(high) }
}

function finite(value: number): MetricValue {
  return Number.isFinite(value) ? short(value) : null
}

/** Rounds to as many digits as a chart or a table can show. */
function short(value: number): number {
  return Number(value.toPrecision(7))
}
