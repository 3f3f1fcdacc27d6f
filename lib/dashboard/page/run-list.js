/** The list of runs in the folder: choose one to see it, or several to compare. */
import { byId, element, KeyedChildren, setText } from './elements.js'
import { formatCount, formatNumber } from './format.js'
import { showLook, swatch } from './look.js'
import { choose, chosenIds, MOST_CHOSEN, runNumbers, state } from './state.js'

/** @typedef {import('../payload.js').RunSummary} RunSummary */

export const STATUS = { running: 'running', finished: 'finished', stopped: 'stopped', empty: 'no steps yet' }

/** Number of runs from which on the filter is shown. */
const MANY = 5

/** @param {() => void} onChoice */
export function startRunList(onChoice) {
  const filter = byId('filter', HTMLInputElement)
  const tools = byId('runs-tools', HTMLElement)
  const all = byId('compare-all', HTMLButtonElement)
  const toggle = byId('runs-toggle', HTMLButtonElement)
  const note = byId('runs-note', HTMLElement)
  const items = new KeyedChildren(byId('run-list', HTMLElement), (id) => new Item(id, onChoice).root)
  filter.addEventListener('input', update)
  toggle.addEventListener('click', () => {
    toggle.setAttribute('aria-expanded', String(toggle.getAttribute('aria-expanded') !== 'true'))
  })
  all.addEventListener('click', () => {
    choose(found().map(({ id }) => id))
    onChoice()
  })
  return { update }

  /** Returns the runs that match every word of the filter. */
  function found() {
    const words = filter.value.toLowerCase().split(/\s+/)
    return (state.list?.runs ?? []).filter(({ name, method, status }) => {
      const text = [name, method, STATUS[status]].join(' ').toLowerCase()
      return words.every((word) => text.includes(word))
    })
  }

  function update() {
    const { runs = [], complete = true } = state.list ?? {}
    const shown = found()
    const numbers = runNumbers()
    tools.hidden = runs.length < MANY
    all.disabled = shown.length === 0
    setText(toggle, `Runs: ${numbers.size} of ${runs.length}`)
    items.update(shown.map(({ id }) => id)).forEach((root, place) => {
      const summary = shown[place]
      if (summary) itemOf.get(root)?.update(summary, numbers)
    })
    const notes = []
    if (shown.length < runs.length) notes.push(`${shown.length} of ${runs.length} runs.`)
    if (numbers.size === MOST_CHOSEN && runs.length > MOST_CHOSEN)
      notes.push(`${MOST_CHOSEN} runs are compared at most: the lines of more runs could not be told apart.`)
    if (!complete) notes.push('The folder is too large to be searched whole: start the dashboard in a folder below it.')
    note.hidden = notes.length === 0
    setText(note, notes.join(' '))
  }
}

/** @type {WeakMap<Element, Item>} */
const itemOf = new WeakMap()

class Item {
  /**
   * @param {string} id
   * @param {() => void} onChoice
   */
  constructor(id, onChoice) {
    this.name = element('span', { class: 'name' })
    this.facts = element('span', { class: 'facts' })
    const text = element('span', {}, this.name, this.facts)
    this.button = element('button', { type: 'button', class: 'run' }, swatch(), text)
    this.box = element('input', { type: 'checkbox' })
    this.boxLabel = element('span', { class: 'unseen' })
    const compare = element('label', { class: 'compare', title: 'Compare' }, this.box, this.boxLabel)
    this.root = element('li', {}, this.button, compare)
    itemOf.set(this.root, this)
    this.button.addEventListener('click', () => {
      choose([id])
      onChoice()
    })
    this.box.addEventListener('change', () => {
      const chosen = chosenIds()
      choose(this.box.checked ? [...chosen, id] : chosen.filter((other) => other !== id))
      onChoice()
    })
  }

  /**
   * @param {RunSummary} summary
   * @param {ReadonlyMap<string, number>} numbers of the chosen runs
   */
  update({ id, name, status, step, totalSteps, loss, method }, numbers) {
    const isChosen = numbers.has(id)
    setText(this.name, name)
    this.button.title = name
    const steps =
      step === null ? null : `step ${formatCount(step)}${totalSteps ? ` of ${formatCount(totalSteps)}` : ''}`
    const parts = [STATUS[status], steps, loss === null ? null : `loss ${formatNumber(loss)}`, method]
    setText(this.facts, parts.filter((part) => part !== null).join(' · '))
    this.root.dataset.status = status
    showLook(this.root, numbers.get(id) ?? null)
    this.button.setAttribute('aria-current', String(isChosen))
    setText(this.boxLabel, `Compare ${name}`)
    this.box.checked = isChosen
    this.box.disabled = isChosen ? numbers.size === 1 : numbers.size >= MOST_CHOSEN
  }
}
