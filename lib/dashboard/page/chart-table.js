/** The values of a chart as a table. */

import { COLUMNS_OF_A_RUN, valueAt } from './chart-data.js'
import { element } from './elements.js'
import { formatCount } from './format.js'

/** @typedef {import('./format.js').Metric} Metric */
/** @typedef {import('./format.js').Value} Value */

/** Rows of a table at most: evenly spaced, the first and the last among them. */
const MOST_ROWS = 50
/** Milliseconds between two changes of a table that somebody may be reading. */
const REDRAW_INTERVAL = 10_000

export class ChartTable {
  #changed = Number.NEGATIVE_INFINITY
  /** @type {{ columns: readonly (readonly Value[])[], names: readonly string[] }} */
  #shown = { columns: [], names: [] }

  /** @param {Metric} metric */
  constructor(metric) {
    this.metric = metric
    this.place = element('div', {
      class: 'scroll',
      tabindex: 0,
      role: 'region',
      'aria-label': `${metric.title}, table`,
    })
    const summary = element('summary', {}, 'Table', element('span', { class: 'unseen' }, ` of ${metric.title}`))
    this.root = element('details', { class: 'table' }, summary, this.place)
    this.root.addEventListener('toggle', () => this.#draw())
  }

  /**
   * @param {readonly (readonly Value[])[]} columns
   * @param {readonly string[]} names of the runs
   */
  update(columns, names) {
    const isOther = names.join('\n') !== this.#shown.names.join('\n')
    this.#shown = { columns, names }
    if (isOther || performance.now() - this.#changed > REDRAW_INTERVAL) this.#draw()
  }

  #draw() {
    if (!this.root.open) return
    this.#changed = performance.now()
    const { columns, names } = this.#shown
    const { title, format } = this.metric
    const [steps = []] = columns
    const head = element('tr', {}, ...['Step', ...names].map((name) => element('th', { scope: 'col' }, name)))
    const rows = spread(steps.length, MOST_ROWS).map((place) => {
      const cells = names.map((_, run) => {
        const line = columns[(run + 1) * COLUMNS_OF_A_RUN] ?? []
        return element('td', {}, format(valueAt(line, place)))
      })
      return element('tr', {}, element('th', { scope: 'row' }, formatCount(steps[place])), ...cells)
    })
    const caption = element('caption', { class: 'unseen' }, `${title} at some steps, or at the last one before`)
    const table = element('table', {}, caption, element('thead', {}, head), element('tbody', {}, ...rows))
    this.place.replaceChildren(table)
  }
}

/**
 * Places of a list, evenly spaced, with both ends.
 * @param {number} length
 * @param {number} most
 */
export function spread(length, most) {
  const count = Math.min(length, most)
  return Array.from({ length: count }, (_, i) => (count === 1 ? 0 : Math.round((i * (length - 1)) / (count - 1))))
}
