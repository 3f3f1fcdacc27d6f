/** The latest values of the chosen runs, and what is wrong with them. */
import { byId, element, KeyedChildren, setText } from './elements.js'
import { formatCount, formatNumber, METRICS } from './format.js'
import { STATUS } from './run-list.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */
/** @typedef {import('./format.js').Value} Value */

/** How much higher than at its start a loss is when that is worth a word. */
const RISEN = 1.5

export function startLatest() {
  /** @type {WeakMap<Element, RunCard>} */
  const cards = new WeakMap()
  const children = new KeyedChildren(byId('latest', HTMLElement), () => {
    const card = new RunCard()
    cards.set(card.root, card)
    return card.root
  })
  return {
    /** @param {readonly ShownRun[]} runs */
    update(runs) {
      children.update(runs.map(({ summary }) => summary.id)).forEach((root, place) => {
        const run = runs[place]
        if (run) cards.get(root)?.update(run)
      })
    },
  }
}

/**
 * The last value of a metric; null where the run has none.
 * @param {ShownRun} run
 * @param {{ name: string, table: 'steps' | 'evaluations' }} metric
 * @returns {{ step: number, value: Value } | null}
 */
export function latestOf({ metrics }, { name, table }) {
  const last = metrics?.[table].last
  return last ? { step: last.step, value: last.values[name] } : null
}

class RunCard {
  constructor() {
    this.name = element('span', { class: 'name' })
    this.badge = element('span', { class: 'badge' })
    this.progress = element('progress', { max: 1 })
    this.steps = element('span', { class: 'steps' })
    this.values = new KeyedChildren(element('dl', { class: 'tiles' }), (name) => {
      const title = METRICS.find((metric) => metric.name === name)?.title ?? name
      return element('div', {}, element('dt', {}, title), element('dd'), element('dd', { class: 'more' }))
    })
    this.problems = new KeyedChildren(element('ul', { class: 'problems' }), (text) => element('li', {}, text))
    const head = element('h3', {}, element('span', { class: 'swatch', 'aria-hidden': 'true' }), this.name, this.badge)
    const course = element('div', { class: 'course' }, this.progress, this.steps)
    this.root = element('article', { class: 'card' }, head, course, this.values.parent, this.problems.parent)
  }

  /** @param {ShownRun} run */
  update(run) {
    const { summary, number } = run
    this.root.dataset.number = String(number)
    this.root.dataset.status = summary.status
    setText(this.name, summary.name)
    setText(this.badge, STATUS[summary.status])
    this.#showSteps(run)
    const metrics = METRICS.filter((metric) => latestOf(run, metric) !== null)
    this.values.update(metrics.map(({ name }) => name)).forEach((tile, place) => {
      const metric = metrics[place]
      const [value, more] = tile.querySelectorAll('dd')
      if (!metric || !value || !more) return
      setText(value, metric.format(latestOf(run, metric)?.value))
      setText(more, moreOf(run, metric))
    })
    this.problems.update([...(run.details?.problems ?? []), ...problemsOf(run)])
  }

  /** @param {ShownRun} run */
  #showSteps(run) {
    const { step, totalSteps } = run.summary
    const epoch = latestOf(run, { name: 'epoch', table: 'steps' })?.value
    const checkpoints = run.details?.checkpoints ?? []
    const parts = [`Step ${formatCount(step)}${totalSteps ? ` of ${formatCount(totalSteps)}` : ''}`]
    if (typeof epoch === 'number') parts.push(`epoch ${Number(epoch.toFixed(2))}`)
    if (checkpoints.length > 0) {
      const shown = checkpoints.slice(-4).map(formatCount).join(', ')
      parts.push(`checkpoints at ${checkpoints.length > 4 ? '…, ' : ''}${shown}`)
    }
    setText(this.steps, parts.join(' · '))
    this.progress.hidden = !totalSteps
    this.progress.value = totalSteps ? Math.min(1, (step ?? 0) / totalSteps) : 0
    this.progress.setAttribute('aria-label', `Steps of ${run.summary.name}`)
  }
}

/**
 * The lowest of losses, beside the last.
 * @param {ShownRun} run
 * @param {import('./format.js').Metric} metric
 */
function moreOf({ metrics }, { name, table, format }) {
  if (name !== 'loss' && name !== 'evalLoss') return ''
  const part = metrics?.[table]
  const { mean = [], low = mean } = part?.metrics[name] ?? {}
  const lowest = Math.min(...low.filter((value) => value !== null))
  if (!part || low.length < 2 || !Number.isFinite(lowest)) return ''
  return `lowest ${format(lowest)} ${part.width > 1 ? 'near' : 'at'} step ${formatCount(part.steps[low.indexOf(lowest)])}`
}

/**
 * @param {ShownRun} run
 * @returns {string[]}
 */
function problemsOf({ summary, metrics }) {
  if (!metrics) return []
  const problems = []
  const losses = metrics.steps.metrics.loss?.mean ?? []
  const [first, last] = [losses.find((value) => value !== null), metrics.steps.last?.values.loss]
  const at = formatCount(metrics.steps.last?.step)
  if (last === null) problems.push(`The loss of step ${at} is no finite number: the run has diverged.`)
  if (typeof first === 'number' && typeof last === 'number' && last > first * RISEN && first > 0) {
    problems.push(
      `The loss has risen from ${formatNumber(first)} to ${formatNumber(last)}: a lower learning rate may help.`,
    )
  }
  if (summary.status === 'running' && losses.length === 0)
    problems.push('The run has begun; its first step is not done yet.')
  if (metrics.malformed > 0) {
    problems.push(`${formatCount(metrics.malformed)} lines of metrics.jsonl could not be read.`)
  }
  return problems
}
