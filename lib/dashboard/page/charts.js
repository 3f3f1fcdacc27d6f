/** Shows a chart for each metric, all over the same axis. */
import { AXES, placesOn } from './axes.js'
import { Chart } from './chart.js'
import { byId, KeyedChildren, setText } from './elements.js'
import { chartsOf } from './metrics.js'
import { state } from './state.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */
/** @typedef {import('./chart-plot.js').Zoom} Zoom */

export function startCharts() {
  /** @type {Zoom} */
  const zoom = { range: null }
  /** @type {Map<Element, Chart>} */
  const charts = new Map()
  const reset = byId('reset-zoom', HTMLButtonElement)
  const note = byId('charts-note', HTMLElement)
  let axis = state.axis
  const children = new KeyedChildren(byId('charts', HTMLElement), (key) => {
    const chart = new Chart(/** @type {any} */ (shown.find((one) => one.key === key)), zoom, show)
    charts.set(chart.root, chart)
    return chart.root
  })
  /** @type {import('./metrics.js').ChartOfMetrics[]} */
  let shown = []
  reset.addEventListener('click', () => {
    byId('charts-title', HTMLElement).focus()
    show(null)
  })
  return { update, redraw }

  /** @param {readonly ShownRun[]} runs */
  function update(runs) {
    if (axis !== state.axis) {
      axis = state.axis
      zoom.range = null
      reset.hidden = true
    }
    const isPlaced = (/** @type {ShownRun} */ run) => isKnown(run, axis)
    const placed = runs.filter(isPlaced)
    shown = chartsOf(placed)
    const roots = children.update(shown.map(({ key }) => key))
    for (const root of charts.keys()) if (!roots.includes(/** @type {any} */ (root))) charts.delete(root)
    roots.forEach((root, i) => {
      const one = shown[i]
      if (one) charts.get(root)?.update(placed, one)
    })
    const missing = runs.filter((run) => run.metrics && !isPlaced(run)).map(({ summary }) => summary.name)
    const { title } = AXES[axis]
    setText(
      note,
      missing.length > 0 ? `Not drawn, since ${title.toLowerCase()} is not known: ${missing.join(', ')}.` : '',
    )
  }

  function redraw() {
    for (const chart of charts.values()) chart.redraw()
  }

  /** @param {[number, number] | null} range */
  function show(range) {
    zoom.range = range
    reset.hidden = range === null
    redraw()
  }
}

/**
 * Whether the position of a run's last step on an axis is known.
 * @param {ShownRun} run
 * @param {import('./axes.js').AxisName} axis
 */
function isKnown({ metrics }, axis) {
  return placesOn(metrics, axis)(metrics?.steps.last?.step ?? 0) !== null
}
