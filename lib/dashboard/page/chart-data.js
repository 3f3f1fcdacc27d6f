/** From what is known of runs to the columns that a chart draws. */

/** @typedef {import('./state.js').ShownRun} ShownRun */
/** @typedef {import('./format.js').Metric} Metric */
/** @typedef {import('./format.js').Value} Value */

/** Columns of a run in a chart: the edges of its band, its values as they are, and its line. */
export const COLUMNS_OF_A_RUN = 4

/**
 * The steps of all runs, then four columns for each: lowest, highest, as recorded (where the line is smoothed), line.
 * @param {readonly ShownRun[]} runs
 * @param {Metric} metric
 * @param {{ smoothing: number, logarithmic: boolean }} view
 * @returns {(Value[] | undefined)[]}
 */
export function chartColumns(runs, { name, table, noisy = false }, { smoothing, logarithmic }) {
  const drawn = (/** @type {Value[]} */ values) =>
    logarithmic ? values.map((value) => (typeof value === 'number' && value > 0 ? value : null)) : values
  const tables = runs.map(({ metrics }) => {
    const part = metrics?.[table]
    const { mean = [], low, high } = part?.metrics[name] ?? {}
    const none = mean.map(() => null)
    const isSmooth = noisy && smoothing > 0
    const line = isSmooth ? smoothed(mean, smoothing) : mean
    const columns = isSmooth ? [none, none, mean, line] : [low ?? none, high ?? none, none, line]
    return [part?.steps ?? [], ...columns.map(drawn)]
  })
  return joinedBySteps(tables)
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
 * Tables of steps and columns as one: `undefined` where a run has no such step, which is no gap in its line.
 * @param {(Value[])[][]} tables
 */
export function joinedBySteps(tables) {
  const steps = [...new Set(tables.flatMap(([own = []]) => own))].sort((a, b) => Number(a) - Number(b))
  const columns = tables.flatMap(([own = [], ...others]) => {
    const places = new Map(own.map((step, place) => [step, place]))
    return others.map((column) => steps.map((step) => column[places.get(step) ?? -1]))
  })
  return [steps, ...columns]
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
