/** A chart: the curves of a metric, their values at the cursor, and all of them as a table. */
import { AXES } from './axes.js'
import { COLUMNS_OF_A_CURVE, chartColumns, valueAt } from './chart-data.js'
import { bindTouch, pressKey } from './chart-input.js'
import { plotColumns } from './chart-plot.js'
import { ChartTable } from './chart-table.js'
import { element, KeyedChildren, setText } from './elements.js'
import { showLook, swatch } from './look.js'
import { latestOf } from './metrics.js'
import { state } from './state.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */
/** @typedef {import('./metrics.js').ChartOfMetrics} ChartOfMetrics */
/** @typedef {import('./chart-data.js').Curve} Curve */
/** @typedef {import('./format.js').Value} Value */
/** @typedef {import('./chart-plot.js').Zoom} Zoom */

/** Maximum number of runs with values below a chart; the table has the values of all runs. */
const MOST_READ = 8

let made = 0

/** A reading for each metric of a run. @type {WeakMap<Element, KeyedChildren<HTMLElement>>} */
const readingsOf = new WeakMap()

function newReading() {
  return element(
    'span',
    { class: 'of-metric' },
    element('span', { class: 'kind' }),
    element('span', { class: 'value' }),
    element('span', { class: 'spread', title: 'Lowest and highest value of the steps in this mean' }),
  )
}

export class Chart {
  /** @type {import('uplot') | null} */
  #plot = null
  /** The properties of a plot that cannot change once it is made. */
  #form = ''
  /** @type {readonly Curve[]} */
  #curves = []
  /** @type {Value[][]} */
  #columns = []
  /** The values that were drawn last: nothing is drawn again while all of them are the same. @type {unknown[]} */
  #drawn = []
  /** The curve at the cursor. @type {number | null} */
  #pointed = null
  #hasSeveral = false

  /**
   * @param {ChartOfMetrics} shown
   * @param {Zoom} zoom
   * @param {import('./chart-input.js').OnZoom} onZoom
   */
  constructor({ key, title }, zoom, onZoom) {
    this.title = title
    this.zoom = zoom
    this.onZoom = onZoom
    const id = `chart-${made++}`
    this.at = element('span', { class: 'at' })
    this.readings = new KeyedChildren(element('ul', { class: 'readings' }), () => {
      const item = element('li', {}, swatch(), element('span', { class: 'name' }))
      readingsOf.set(item, new KeyedChildren(item, newReading))
      return item
    })
    this.others = element('span', { class: 'at' })
    this.reading = element('div', { class: 'reading' }, this.at, this.readings.parent, this.others)
    this.place = element('div', { class: 'plot', tabindex: 0, role: 'group', 'aria-describedby': 'chart-help' })
    this.table = new ChartTable(title)
    this.root = element(
      'figure',
      { class: 'card chart', 'data-metric': key, 'aria-labelledby': id },
      element('h3', { id }, title),
      this.place,
      this.reading,
      this.table.root,
    )
    this.place.addEventListener('keydown', (event) => {
      if (this.#plot && pressKey(this.#plot, event, onZoom)) event.preventDefault()
    })
    // Announce only while the chart has the focus: live values would never stop a screen reader.
    this.place.addEventListener('focus', () => this.reading.setAttribute('aria-live', 'polite'))
    this.place.addEventListener('blur', () => this.reading.removeAttribute('aria-live'))
    new ResizeObserver(() => this.#fit()).observe(this.place)
  }

  /**
   * @param {readonly ShownRun[]} runs
   * @param {ChartOfMetrics} shown
   */
  update(runs, { metrics }) {
    const { axis, smoothing, logarithmic } = state
    const now = [axis, smoothing, logarithmic, ...runs.flatMap((run) => [run.number, run.summary.name, run.metrics])]
    if (now.length === this.#drawn.length && now.every((one, i) => one === this.#drawn[i])) return
    this.#drawn = now
    const curves = runs.flatMap((run) => metrics.map((metric) => ({ run, metric })))
    this.#curves = curves.filter(({ run, metric }) => latestOf(run, metric) !== null)
    this.#hasSeveral = metrics.length > 1
    const byPowers = logarithmic && metrics.every((metric) => metric.logarithmic)
    const columns = chartColumns(this.#curves, { axis, smoothing, logarithmic: byPowers })
    this.#columns = /** @type {Value[][]} */ (columns)
    this.#draw(byPowers)
    this.table.update(
      this.#columns,
      AXES[axis],
      this.#curves.map((curve) => ({ name: this.#nameOf(curve), format: curve.metric.format })),
    )
    this.#read()
    this.place.setAttribute('aria-label', `${this.title}, chart. ${this.#summary()}`)
  }

  redraw() {
    this.#plot?.setData(this.#plot.data, true)
  }

  /** @param {boolean} logarithmic */
  #draw(logarithmic) {
    const looks = this.#curves.map(({ run, metric }) => ({
      number: run.number,
      circles: this.#isCircled(metric),
    }))
    const form = JSON.stringify([looks, logarithmic, state.axis])
    const data = /** @type {import('uplot').AlignedData} */ (/** @type {unknown} */ (this.#columns))
    if (this.#plot && form === this.#form) {
      this.#plot.setData(data, true)
      return
    }
    this.#plot?.destroy()
    this.#form = form
    this.#pointed = null
    const { zoom, onZoom } = this
    const onPointed = (/** @type {number | null} */ curve) => {
      this.#pointed = curve
      this.#read()
    }
    const options = { looks, axis: state.axis, logarithmic, zoom, onZoom, onCursor: () => this.#read(), onPointed }
    this.#plot = plotColumns(this.place, options, data)
    bindTouch(this.#plot, onZoom)
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.place
    if (this.#plot && width > 0 && (width !== this.#plot.width || height !== this.#plot.height))
      this.#plot.setSize({ width, height })
  }

  /** Shows the values at the cursor, or the last values; the curve at the cursor comes first. */
  #read() {
    const place = this.#plot?.cursor.idx ?? null
    const [places = []] = this.#columns
    const at = place ?? places.length - 1
    const { title, format } = AXES[state.axis]
    const name = place === null ? `Latest, ${title.toLowerCase()}` : title
    setText(this.at, `${name} ${format(places[at])}`)
    const pointed = this.#pointed === null ? undefined : this.#curves[this.#pointed]?.run
    const runs = [...new Set([...(pointed ? [pointed] : []), ...this.#curves.map(({ run }) => run)])]
    const shown = runs.slice(0, MOST_READ)
    setText(this.others, shown.length < runs.length ? `and ${runs.length - shown.length} more in the table` : '')
    this.readings.update(shown.map(({ summary }) => summary.id)).forEach((item, i) => {
      const run = shown[i]
      if (!run) return
      showLook(/** @type {HTMLElement} */ (item), run.number)
      item.classList.toggle('pointed', run === pointed)
      setText(/** @type {Element} */ (item.children[1]), runs.length > 1 ? run.summary.name : '')
      this.#readRun(item, run, at)
    })
  }

  /**
   * @param {Element} item
   * @param {ShownRun} run
   * @param {number} at
   */
  #readRun(item, run, at) {
    const curves = this.#curves.map((curve, place) => ({ ...curve, place })).filter((curve) => curve.run === run)
    const children =
      readingsOf.get(item)?.update(
        curves.map(({ metric }) => metric.name),
        2,
      ) ?? []
    children.forEach((child, i) => {
      const { metric, place } = /** @type {typeof curves[number]} */ (curves[i])
      const [low, high, line] = [1, 2, 4].map((of) => valueAt(this.#columns[place * COLUMNS_OF_A_CURVE + of] ?? [], at))
      const [kind, value, spread] = /** @type {Element[]} */ ([...child.children])
      child.classList.toggle('circled', this.#isCircled(metric))
      setText(/** @type {Element} */ (kind), this.#kindOf(metric))
      setText(/** @type {Element} */ (value), metric.format(line))
      const hasSpread = typeof low === 'number' && low !== high
      setText(/** @type {Element} */ (spread), hasSpread ? `${metric.format(low)} – ${metric.format(high)}` : '')
    })
  }

  /** @param {import('./metrics.js').Metric} metric */
  #isCircled(metric) {
    return this.#hasSeveral && metric.table === 'evaluations'
  }

  /** @param {import('./metrics.js').Metric} metric */
  #kindOf(metric) {
    if (!this.#hasSeveral) return ''
    return metric.table === 'evaluations' ? 'evaluation' : 'training'
  }

  /** @param {Curve} curve */
  #nameOf({ run, metric }) {
    return [run.summary.name, this.#kindOf(metric)].filter(Boolean).join(', ')
  }

  #summary() {
    return this.#curves
      .map((curve) => {
        const latest = latestOf(curve.run, curve.metric)
        const { name } = curve.run.summary
        const kind = this.#hasSeveral ? `, ${curve.metric.title.toLowerCase()}` : ''
        return `${name}${kind}: ${curve.metric.format(latest?.value)} at step ${latest?.step}`
      })
      .join('; ')
  }
}
