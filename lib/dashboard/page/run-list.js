/** The runs of the folder: one to look at, or several to compare. */
import { byId, element, KeyedChildren, setText } from './elements.js'
import { formatCount, formatNumber } from './format.js'
import { choose, chosenIds, MOST_CHOSEN, state } from './state.js'

/** @typedef {import('../payload.js').RunSummary} RunSummary */

export const STATUS = { running: 'running', finished: 'finished', stopped: 'stopped', empty: 'no steps yet' }

/** Runs from which on a filter is of use. */
const MANY = 9

/** @param {() => void} onChoice */
export function startRunList(onChoice) {
  const filter = byId('filter', HTMLInputElement)
  const note = byId('runs-note', HTMLElement)
  const items = new KeyedChildren(byId('run-list', HTMLElement), (id) => new Item(id, onChoice).root)
  filter.addEventListener('input', update)
  return { update }

  function update() {
    const { runs = [], complete = true } = state.list ?? {}
    const wanted = filter.value.trim().toLowerCase()
    const shown = runs.filter(({ name }) => name.toLowerCase().includes(wanted))
    filter.hidden = runs.length < MANY
    const chosen = chosenIds()
    items.update(shown.map(({ id }) => id)).forEach((root, place) => {
      const summary = shown[place]
      if (summary) itemOf.get(root)?.update(summary, chosen)
    })
    const notes = []
    if (shown.length < runs.length) notes.push(`${shown.length} of ${runs.length} runs`)
    if (!complete) notes.push('The folder holds more than was looked at: start the dashboard in a folder below it.')
    note.hidden = notes.length === 0
    setText(note, notes.join('. '))
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
    this.swatch = element('span', { class: 'swatch', 'aria-hidden': 'true' })
    const text = element('span', {}, this.name, this.facts)
    this.button = element('button', { type: 'button', class: 'run' }, this.swatch, text)
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
   * @param {readonly string[]} chosen
   */
  update({ id, name, status, step, totalSteps, loss, method }, chosen) {
    const place = chosen.indexOf(id)
    setText(this.name, name)
    this.button.title = name
    const steps =
      step === null ? null : `step ${formatCount(step)}${totalSteps ? ` of ${formatCount(totalSteps)}` : ''}`
    const parts = [STATUS[status], steps, loss === null ? null : `loss ${formatNumber(loss)}`, method]
    setText(this.facts, parts.filter((part) => part !== null).join(' · '))
    this.root.dataset.status = status
    if (place < 0) delete this.root.dataset.number
    else this.root.dataset.number = String(place + 1)
    this.button.setAttribute('aria-current', String(place >= 0))
    setText(this.boxLabel, `Compare ${name}`)
    this.box.checked = place >= 0
    this.box.disabled = place >= 0 ? chosen.length === 1 : chosen.length >= MOST_CHOSEN
  }
}
