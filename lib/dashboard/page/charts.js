/** A chart for each metric, all over the same steps. */

import { COLUMNS_OF_A_RUN, chartColumns, valueAt } from './chart-data.js'
import { moveCursor, plotColumns } from './chart-plot.js'
import { ChartTable } from './chart-table.js'
import { byId, element, KeyedChildren, setText } from './elements.js'
import { formatCount, METRICS } from './format.js'
import { latestOf } from './latest.js'
import { state } from './state.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */
/** @typedef {import('./format.js').Metric} Metric */
/** @typedef {import('./format.js').Value} Value */
/** @typedef {import('./chart-plot.js').Zoom} Zoom */

export function startCharts() {
  /** @type {Zoom} */
  const zoom = { range: null }
  const reset = byId('reset-zoom', HTMLButtonElement)
  const charts = METRICS.map((metric) => new Chart(metric, zoom, showSteps))
  byId('charts', HTMLElement).append(...charts.map(({ root }) => root))
  reset.addEventListener('click', () => {
    byId('charts-title', HTMLElement).focus()
    showSteps(null)
  })
  return {
    /** @param {readonly ShownRun[]} runs */
    update(runs) {
      for (const chart of charts) chart.update(runs)
    },
    redraw() {
      for (const chart of charts) chart.redraw()
    },
  }

  /** @param {[number, number] | null} range */
  function showSteps(range) {
    zoom.range = range
    reset.hidden = range === null
    for (const chart of charts) chart.redraw()
  }
}

class Chart {
  /** @type {import('uplot') | null} */
  #plot = null
  /** What a plot cannot change once it is made. */
  #form = ''
  /** @type {readonly ShownRun[]} */
  #runs = []
  /** @type {Value[][]} */
  #columns = []
  /** What was drawn last, one by one: nothing is drawn again while all of it is the same. */
  /** @type {unknown[]} */
  #drawn = []

  /**
   * @param {Metric} metric
   * @param {Zoom} zoom
   * @param {(range: [number, number] | null) => void} onZoom
   */
  constructor(metric, zoom, onZoom) {
    this.metric = metric
    this.zoom = zoom
    this.onZoom = onZoom
    const id = `chart-${metric.name}`
    this.step = element('span', { class: 'at' })
    this.readings = new KeyedChildren(element('ul', { class: 'readings' }), () =>
      element(
        'li',
        {},
        element('span', { class: 'swatch', 'aria-hidden': 'true' }),
        element('span', { class: 'name' }),
        element('span', { class: 'value' }),
        element('span', { class: 'spread', title: 'Lowest and highest of the steps that this is the mean of' }),
      ),
    )
    this.reading = element('div', { class: 'reading' }, this.step, this.readings.parent)
    this.place = element('div', { class: 'plot', tabindex: 0, role: 'group', 'aria-describedby': 'chart-help' })
    this.table = new ChartTable(metric)
    const heading = element('h3', { id }, metric.title)
    this.root = element(
      'figure',
      { class: 'card chart', 'aria-labelledby': id, hidden: true },
      heading,
      this.place,
      this.reading,
      this.table.root,
    )
    this.place.addEventListener('keydown', (event) => {
      if (!this.#plot || !moveCursor(this.#plot, event)) return
      event.preventDefault()
    })
    // What is read while the values change by themselves would never end.
    this.place.addEventListener('focus', () => this.reading.setAttribute('aria-live', 'polite'))
    this.place.addEventListener('blur', () => this.reading.removeAttribute('aria-live'))
    new ResizeObserver(() => this.#fit()).observe(this.place)
  }

  /** @param {readonly ShownRun[]} runs */
  update(runs) {
    const { smoothing } = state
    const now = [smoothing, state.logarithmic, ...runs.flatMap(({ summary, metrics }) => [summary.name, metrics])]
    if (now.length === this.#drawn.length && now.every((one, i) => one === this.#drawn[i])) return
    this.#drawn = now
    this.#runs = runs.filter((run) => latestOf(run, this.metric) !== null)
    this.root.hidden = this.#runs.length === 0
    const logarithmic = state.logarithmic && (this.metric.logarithmic ?? false)
    const columns = chartColumns(this.#runs, this.metric, { smoothing, logarithmic })
    this.#columns = /** @type {Value[][]} */ (columns)
    this.#draw(logarithmic)
    const names = this.#runs.map(({ summary }) => summary.name)
    this.table.update(this.#columns, names)
    this.#read(this.#plot?.cursor.idx ?? null)
    this.place.setAttribute('aria-label', this.#summary())
  }

  redraw() {
    this.#plot?.setData(this.#plot.data, true)
  }

  /** @param {boolean} logarithmic */
  #draw(logarithmic) {
    const numbers = this.#runs.map(({ number }) => number)
    const form = `${numbers.join()} ${logarithmic}`
    const data = /** @type {import('uplot').AlignedData} */ (/** @type {unknown} */ (this.#columns))
    if (this.#plot && form === this.#form) {
      this.#plot.setData(data, true)
      return
    }
    this.#plot?.destroy()
    this.#plot = null
    this.#form = form
    if (numbers.length === 0) return
    const { zoom, onZoom } = this
    const onCursor = (/** @type {number | null} */ place) => this.#read(place)
    this.#plot = plotColumns(this.place, { numbers, logarithmic, zoom, onZoom, onCursor }, data)
  }

  #fit() {
    const width = this.place.clientWidth
    if (this.#plot && width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height: this.#plot.height })
  }

  /**
   * Shows the values at a place of the steps, or the last ones.
   * @param {number | null} place
   */
  #read(place) {
    const [steps = []] = this.#columns
    const at = place ?? steps.length - 1
    setText(this.step, `${place === null ? 'Latest, step' : 'Step'} ${formatCount(steps[at])}`)
    this.readings.update(this.#runs.map(({ summary }) => summary.id)).forEach((item, i) => {
      const run = this.#runs[i]
      const [, name, value, spread] = item.children
      if (!run || !name || !value || !spread || !(item instanceof HTMLElement)) return
      const [low, high, , line] = [1, 2, 3, 4].map((of) => valueAt(this.#columns[i * COLUMNS_OF_A_RUN + of] ?? [], at))
      item.dataset.number = String(run.number)
      setText(name, this.#runs.length > 1 ? run.summary.name : '')
      setText(value, this.metric.format(line))
      const { format } = this.metric
      setText(spread, typeof low === 'number' && low !== high ? `${format(low)} – ${format(high)}` : '')
    })
  }

  #summary() {
    const parts = this.#runs.map((run) => {
      const latest = latestOf(run, this.metric)
      return `${run.summary.name}: ${this.metric.format(latest?.value)} at step ${formatCount(latest?.step)}`
    })
    return `${this.metric.title}, chart. ${parts.join('; ')}`
  }
}
