/** Turns the data of runs into the columns that a chart draws. */
import { placesOn } from './axes.js'
import { pointsOf } from './metrics.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */
/** @typedef {import('./metrics.js').Metric} Metric */
/** @typedef {import('./format.js').Value} Value */

/**
 * A metric of a run.
 * @typedef {{ run: ShownRun, metric: Metric }} Curve
 */

/** Columns of a curve: the edges of its band, its recorded values, and its line. */
export const COLUMNS_OF_A_CURVE = 4

/**
 * Returns the positions of all curves on the axis, then four columns for each: lowest, highest, as recorded (if the line is
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
 * Returns an exponential moving average without bias towards zero at its start (corrected as Adam's moments).
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
 * Joins tables by position: `undefined` where a table has no value at a position, which makes no gap in its line. Rows without a
 * position are left out.
 * @param {readonly { places: readonly Value[], columns: readonly (readonly Value[] | null)[] }[]} tables null stands for a column
 *   of nulls
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
 * Returns the value at an index of a column, or the last one before it.
 * @param {readonly Value[]} column
 * @param {number} place
 */
export function valueAt(column, place) {
  for (let i = Math.min(place, column.length - 1); i >= 0; i--) if (column[i] !== undefined) return column[i]
  return null
}
