/** From what is known of runs to the columns that a chart draws. */
import { placesOn } from './axes.js'
import { pointsOf } from './metrics.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */
/** @typedef {import('./metrics.js').Metric} Metric */
/** @typedef {import('./format.js').Value} Value */

/**
 * A metric of a run.
 * @typedef {{ run: ShownRun, metric: Metric }} Curve
 */

/** Columns of a curve: the edges of its band, its values as they are, and its line. */
export const COLUMNS_OF_A_CURVE = 4

/**
 * The places of all curves on the axis, then four columns for each: lowest, highest, as recorded (where the line is
 * smoothed), line.
 * @param {readonly Curve[]} curves
 * @param {{ axis: import('./axes.js').AxisName, smoothing: number, logarithmic: boolean }} view
 * @returns {(Value[] | undefined)[]}
 */
export function chartColumns(curves, { axis, smoothing, logarithmic }) {
  const drawn = (/** @type {Value[]} */ values) =>
    logarithmic ? values.map((value) => (typeof value === 'number' && value > 0 ? value : null)) : values
  const tables = curves.map(({ run, metric }) => {
    const { steps, mean, low, high } = pointsOf(run, metric)
    const isSmooth = metric.noisy && smoothing > 0
    const line = isSmooth ? smoothed(mean, smoothing) : mean
    const columns = isSmooth ? [null, null, mean, line] : [low ?? null, high ?? null, null, line]
    return {
      places: steps.map(placesOn(run.metrics, axis)),
      columns: columns.map((column) => column && drawn(column)),
    }
  })
  return joinedByPlaces(tables)
}

/**
 * An exponential moving average, without the pull towards zero at its start (as Adam corrects its moments).
 * @param {readonly Value[]} values
 * @param {number} share of the average in the next one, below 1
 */
export function smoothed(values, share) {
  let [average, weight] = [0, 0]
  return values.map((value) => {
    if (value === null || value === undefined) return null
    average = share * average + (1 - share) * value
    weight = share * weight + (1 - share)
    return average / weight
  })
}

/**
 * Tables as one: `undefined` where a table has nothing at a place, which is no gap in its line. Rows without a place are
 * left out.
 * @param {readonly { places: readonly Value[], columns: readonly (readonly Value[] | null)[] }[]} tables a column is null
 *   where all of its values are
 * @returns {(Value[])[]}
 */
export function joinedByPlaces(tables) {
  const known = tables.flatMap(({ places }) => places.filter((place) => typeof place === 'number'))
  const places = [...new Set(known)].sort((a, b) => a - b)
  const rows = new Map(places.map((place, row) => [place, row]))
  const empty = places.map(() => null)
  const columns = tables.flatMap((table) =>
    table.columns.map((column) => {
      if (column === null) return empty
      /** @type {Value[]} */
      const joined = Array(places.length).fill(undefined)
      table.places.forEach((place, i) => {
        const row = typeof place === 'number' ? rows.get(place) : undefined
        if (row !== undefined) joined[row] = column[i]
      })
      return joined
    }),
  )
  return [places, ...columns]
}

/**
 * The value at a place of a column, or the last one before it.
 * @param {readonly Value[]} column
 * @param {number} place
 */
export function valueAt(column, place) {
  for (let i = Math.min(place, column.length - 1); i >= 0; i--) if (column[i] !== undefined) return column[i]
  return null
}
