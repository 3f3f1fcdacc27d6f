/** A table of the latest values of the chosen runs, one row each. */
import { courseOf, problemsOf, secondsLeft, secondsOf } from './course.js'
import { byId, element, KeyedChildren, setText } from './elements.js'
import { formatCount, formatDuration } from './format.js'
import { showLook, swatch } from './look.js'
import { chartsOf, latestOf, lowestOf } from './metrics.js'
import { optionOf } from './options.js'
import { STATUS } from './run-list.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */
/** @typedef {import('./format.js').Value} Value */

/**
 * @typedef {object} Column
 * @property {string} key
 * @property {string} title
 * @property {(run: ShownRun) => Value | string} value by which rows are sorted
 * @property {(run: ShownRun) => string} text
 * @property {(run: ShownRun) => string} [more] in small type
 */

const collator = new Intl.Collator('en', { numeric: true })

/** Maximum number of options with columns: those in which the runs differ. */
const MOST_OPTIONS = 8

export function startRunTable() {
  const head = byId('values-head', HTMLElement)
  const sorting = { key: '', falls: false }
  /** @type {readonly ShownRun[]} */
  let shown = []
  const heads = new KeyedChildren(head, (key) => {
    const button = element('button', { type: 'button', class: 'sort' })
    button.addEventListener('click', () => {
      sorting.falls = sorting.key === key && !sorting.falls
      sorting.key = key
      update(shown)
    })
    return element('th', { scope: 'col' }, button)
  })
  const rows = new KeyedChildren(byId('values', HTMLElement), () => {
    const name = element('th', { scope: 'row' }, swatch(), element('span', { class: 'name' }))
    name.append(element('span', { class: 'badge' }))
    return element('tr', {}, name)
  })
  /** @type {WeakMap<Element, KeyedChildren<Element>>} */
  const cells = new WeakMap()
  return { update }

  /** @param {readonly ShownRun[]} runs */
  function update(runs) {
    shown = runs
    const columns = columnsOf(runs)
    heads.update(['run', ...columns.map(({ key }) => key)]).forEach((cell, i) => {
      const { key, title } = columns[i - 1] ?? { key: 'run', title: 'Run' }
      setText(/** @type {Element} */ (cell.firstElementChild), title)
      if (sorting.key === key) cell.setAttribute('aria-sort', sorting.falls ? 'descending' : 'ascending')
      else cell.removeAttribute('aria-sort')
    })
    const ordered = sorted(runs, columns)
    rows.update(ordered.map(({ summary }) => summary.id)).forEach((row, i) => {
      const run = ordered[i]
      if (run) fill(/** @type {HTMLElement} */ (row), run, columns)
    })
  }

  /**
   * @param {readonly ShownRun[]} runs
   * @param {readonly Column[]} columns
   */
  function sorted(runs, columns) {
    const { key, falls } = sorting
    const sign = falls ? -1 : 1
    const value = columns.find((column) => column.key === key)?.value
    if (!value && key !== 'run') return runs
    const read = value ?? ((/** @type {ShownRun} */ run) => run.summary.name)
    // Unknown values come last.
    const isKnown = (/** @type {ShownRun} */ run) => (read(run) ?? null) !== null
    const known = runs.filter(isKnown).sort((a, b) => {
      const [one, other] = [read(a), read(b)]
      const areNumbers = typeof one === 'number' && typeof other === 'number'
      return sign * (areNumbers ? one - other : collator.compare(String(one), String(other)))
    })
    return [...known, ...runs.filter((run) => !isKnown(run))]
  }

  /**
   * @param {HTMLElement} row
   * @param {ShownRun} run
   * @param {readonly Column[]} columns
   */
  function fill(row, run, columns) {
    const { name, status } = run.summary
    const [th] = row.children
    const [, label, badge] = th?.children ?? []
    showLook(row, run.number)
    row.dataset.status = status
    if (label) setText(label, name)
    if (badge) setText(badge, STATUS[status])
    const places = cells.get(row) ?? new KeyedChildren(row, () => element('td', {}, element('span'), element('small')))
    cells.set(row, places)
    places
      .update(
        columns.map(({ key }) => key),
        1,
      )
      .forEach((cell, i) => {
        const [text, more] = cell.children
        if (text) setText(text, columns[i]?.text(run) ?? '')
        if (more) setText(more, columns[i]?.more?.(run) ?? '')
      })
  }
}

/**
 * Returns the columns for values that at least one of the runs has.
 * @param {readonly ShownRun[]} runs
 * @returns {Column[]}
 */
function columnsOf(runs) {
  const metrics = chartsOf(runs).flatMap((chart) => chart.metrics)
  /** @type {Column[]} */
  const columns = [
    {
      key: 'step',
      title: 'Step',
      value: ({ summary }) => summary.step,
      text: ({ summary }) => formatCount(summary.step),
      more: ({ summary: { totalSteps } }) => (totalSteps ? `of ${formatCount(totalSteps)}` : ''),
    },
    ...[
      { key: 'duration', title: 'Time', value: secondsOf },
      { key: 'left', title: 'Time left', value: secondsLeft },
    ].map((column) => ({ ...column, text: (/** @type {ShownRun} */ run) => formatDuration(column.value(run)) })),
    ...metrics.map((metric) => ({
      key: `${metric.table} ${metric.name}`,
      title: metric.title,
      value: (/** @type {ShownRun} */ run) => latestOf(run, metric)?.value,
      text: (/** @type {ShownRun} */ run) => metric.format(latestOf(run, metric)?.value),
      more: (/** @type {ShownRun} */ run) => {
        const lowest = lowestOf(run, metric)
        if (!lowest) return ''
        return `lowest ${metric.format(lowest.value)} ${lowest.isExact ? 'at' : 'near'} ${formatCount(lowest.step)}`
      },
    })),
  ]
  const known = columns.filter(({ key, value }) => key === 'step' || runs.some((run) => (value(run) ?? null) !== null))
  return [...optionColumns(runs), ...known]
}

/**
 * Returns columns for the options in which the runs differ, except the folder, which is their name.
 * @param {readonly ShownRun[]} runs
 * @returns {Column[]}
 */
function optionColumns(runs) {
  const valuesOf = (/** @type {string} */ name) => runs.map((run) => optionOf(run, name))
  const options = runs.flatMap(({ details }) => (details?.facts ?? []).filter(({ group }) => group === 'options'))
  const names = [...new Set(options.map(({ name }) => name))].filter((name) => name !== 'output')
  return names
    .filter((name) => new Set(valuesOf(name)).size > 1)
    .slice(0, MOST_OPTIONS)
    .map((name) => ({
      key: `option ${name}`,
      title: name,
      value: (run) => optionOf(run, name),
      text: (run) => optionOf(run, name) ?? '–',
    }))
}

/** Shows, above the charts, the progress of a run and the problems of all. */
export function startCourse() {
  const course = byId('course', HTMLElement)
  const badge = byId('course-status', HTMLElement)
  const text = byId('course-text', HTMLElement)
  const progress = byId('course-progress', HTMLProgressElement)
  const problems = new KeyedChildren(byId('problems', HTMLElement), (problem) => element('li', {}, problem))
  return {
    /** @param {readonly ShownRun[]} runs */
    update(runs) {
      const [run] = runs
      course.hidden = runs.length !== 1
      if (run && runs.length === 1) {
        const { name, status, step, totalSteps } = run.summary
        showLook(course, run.number)
        course.dataset.status = status
        setText(badge, STATUS[status])
        setText(text, courseOf(run).join(' · '))
        progress.hidden = !totalSteps
        progress.value = totalSteps ? Math.min(1, (step ?? 0) / totalSteps) : 0
        progress.setAttribute('aria-label', `Steps of ${name}`)
      }
      const named = (/** @type {ShownRun} */ one) =>
        problemsOf(one).map((problem) => (runs.length > 1 ? `${one.summary.name}: ${problem}` : problem))
      problems.update(runs.flatMap(named))
    },
  }
}
