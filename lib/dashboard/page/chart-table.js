/** Shows the values of a chart as a table. */

import { COLUMNS_OF_A_CURVE, valueAt } from './chart-data.js'
import { element } from './elements.js'

/** @typedef {import('./axes.js').Axis} Axis */
/** @typedef {import('./format.js').Value} Value */
/** @typedef {{ name: string, format: (value: Value) => string }} Head of a column */

/** Maximum number of rows in a table: evenly spaced, the first and the last included. */
const MOST_ROWS = 50
/** Milliseconds between two updates of an open table. */
const REDRAW_INTERVAL = 10_000

export class ChartTable {
  #changed = Number.NEGATIVE_INFINITY
  /** @type {{ columns: readonly (readonly Value[])[], axis: Axis | null, heads: readonly Head[] }} */
  #shown = { columns: [], axis: null, heads: [] }

  /** @param {string} title */
  constructor(title) {
    this.title = title
    this.place = element('div', {
      class: 'scroll',
      tabindex: 0,
      role: 'region',
      'aria-label': `${title}, table`,
    })
    const summary = element('summary', {}, 'Table', element('span', { class: 'unseen' }, ` of ${title}`))
    this.root = element('details', { class: 'table' }, summary, this.place)
    this.root.addEventListener('toggle', () => this.#draw())
  }

  /**
   * @param {readonly (readonly Value[])[]} columns
   * @param {Axis} axis
   * @param {readonly Head[]} heads of the curves
   */
  update(columns, axis, heads) {
    const formOf = (/** @type {readonly Head[]} */ of) => of.map(({ name }) => name).join('\n')
    const isOther = axis !== this.#shown.axis || formOf(heads) !== formOf(this.#shown.heads)
    this.#shown = { columns, axis, heads }
    if (isOther || performance.now() - this.#changed > REDRAW_INTERVAL) this.#draw()
  }

  #draw() {
    const { columns, axis, heads } = this.#shown
    if (!this.root.open || !axis) return
    this.#changed = performance.now()
    const [places = []] = columns
    const names = [axis.title, ...heads.map(({ name }) => name)]
    const head = element('tr', {}, ...names.map((name) => element('th', { scope: 'col' }, name)))
    const rows = spread(places.length, MOST_ROWS).map((place) => {
      const cells = heads.map(({ format }, curve) => {
        const line = columns[(curve + 1) * COLUMNS_OF_A_CURVE] ?? []
        return element('td', {}, format(valueAt(line, place)))
      })
      return element('tr', {}, element('th', { scope: 'row' }, axis.format(places[place])), ...cells)
    })
    const caption = element(
      'caption',
      { class: 'unseen' },
      `${this.title} at evenly spaced positions, or the last value before each`,
    )
    const table = element('table', {}, caption, element('thead', {}, head), element('tbody', {}, ...rows))
    this.place.replaceChildren(table)
  }
}

/**
 * Returns evenly spaced indices of a list, both ends included.
 * @param {number} length
 * @param {number} most
 */
export function spread(length, most) {
  const count = Math.min(length, most)
  return Array.from({ length: count }, (_, i) => (count === 1 ? 0 : Math.round((i * (length - 1)) / (count - 1))))
}
