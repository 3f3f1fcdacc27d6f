/** The metrics of runs that the charts and the table show, by their names in metrics.jsonl. */
import { formatBytes, formatCount, formatNumber, formatRate } from './format.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */
/** @typedef {import('./format.js').Value} Value */
/** @typedef {import('../payload.js').TablePart} TablePart */

/**
 * @typedef {object} Metric
 * @property {string} name
 * @property {string} title
 * @property {'steps' | 'evaluations' | 'own'} table
 * @property {(value: Value) => string} format
 * @property {boolean} [noisy] may be smoothed
 * @property {boolean} [logarithmic] may be shown by powers of ten
 */

/** @type {Metric} */
const loss = { name: 'loss', title: 'Loss', table: 'steps', format: formatNumber, noisy: true, logarithmic: true }
/** @type {Metric} */
const evalLoss = {
  name: 'evalLoss',
  title: 'Evaluation loss',
  table: 'evaluations',
  format: formatNumber,
  logarithmic: true,
}
/** @type {Metric[]} */
const progress = [
  { name: 'gradNorm', title: 'Gradient norm', table: 'steps', format: formatNumber, noisy: true, logarithmic: true },
  { name: 'learningRate', title: 'Learning rate', table: 'steps', format: formatRate },
  { name: 'tokensPerSecond', title: 'Tokens per second', table: 'steps', format: formatCount, noisy: true },
  { name: 'memoryBytes', title: 'Peak memory', table: 'steps', format: formatBytes },
]

/**
 * A chart shows one metric, or several with the same unit.
 * @typedef {object} ChartOfMetrics
 * @property {string} key
 * @property {string} title
 * @property {readonly Metric[]} metrics
 */

/**
 * Returns the charts of some runs: the loss, the user's own metrics, and the other metrics of steps.
 * @param {readonly ShownRun[]} runs
 * @returns {ChartOfMetrics[]}
 */
export function chartsOf(runs) {
  const isThere = (/** @type {Metric} */ metric) => runs.some((run) => latestOf(run, metric) !== null)
  const charts = [
    { key: 'loss', title: 'Loss', metrics: [loss, evalLoss] },
    ...ownMetrics(runs).map((metric) => ({ key: `own ${metric.name}`, title: metric.title, metrics: [metric] })),
    ...progress.map((metric) => ({ key: metric.name, title: metric.title, metrics: [metric] })),
  ]
  return charts
    .map((chart) => ({ ...chart, metrics: chart.metrics.filter(isThere) }))
    .filter(({ metrics }) => metrics.length > 0)
}

/**
 * @param {readonly ShownRun[]} runs
 * @returns {Metric[]}
 */
function ownMetrics(runs) {
  const names = new Set(runs.flatMap(({ metrics }) => (metrics?.own ?? []).map(({ name }) => name)))
  return [...names].map((name) => ({
    ...{ name, title: name, table: 'own', format: formatNumber },
    ...{ noisy: true, logarithmic: true },
  }))
}

/**
 * Returns the points of a metric: their steps and values.
 * @param {ShownRun} run
 * @param {Pick<Metric, 'name' | 'table'>} metric
 */
export function pointsOf({ metrics }, { name, table }) {
  const part = table === 'own' ? metrics?.own.find((one) => one.name === name) : metrics?.[table]
  const { mean = [], low, high } = part?.metrics[table === 'own' ? 'value' : name] ?? {}
  return { steps: part?.steps ?? [], mean, low, high, width: part?.width ?? 1 }
}

/**
 * Returns the last value of a metric; null if the run has none.
 * @param {ShownRun} run
 * @param {Pick<Metric, 'name' | 'table'>} metric
 * @returns {{ step: number, value: Value } | null}
 */
export function latestOf({ metrics }, { name, table }) {
  const part = table === 'own' ? metrics?.own.find((one) => one.name === name) : metrics?.[table]
  return part?.last ? { step: part.last.step, value: part.last.values[table === 'own' ? 'value' : name] } : null
}

/**
 * Returns the lowest value of a loss, and its step; null for fewer than two values.
 * @param {ShownRun} run
 * @param {Metric} metric
 */
export function lowestOf(run, metric) {
  if (metric !== loss && metric !== evalLoss) return null
  const { steps, mean, low = mean, width } = pointsOf(run, metric)
  const value = Math.min(...low.filter((one) => one !== null))
  if (low.length < 2 || !Number.isFinite(value)) return null
  return { value, step: steps[low.indexOf(value)], isExact: width === 1 }
}
