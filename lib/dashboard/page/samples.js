/** Shows the answers of the chosen runs during training. */
import { byId, element } from './elements.js'
import { formatCount } from './format.js'
import { showLook, swatch } from './look.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */
/** @typedef {import('../payload.js').Sample} Sample */

/** Number of answers that are shown before "more" is opened. */
const SHOWN = 1

export function startSamples() {
  const section = byId('samples-section', HTMLElement)
  const place = byId('samples', HTMLElement)
  let shown = ''
  return {
    /** @param {readonly ShownRun[]} runs */
    update(runs) {
      const samples = runs.flatMap((run) => (run.details?.samples ?? []).map((sample) => ({ ...sample, run })))
      const now = JSON.stringify(samples.map(({ step, text, run }) => [step, text.length, run.summary.id, run.number]))
      if (now === shown) return
      shown = now
      section.hidden = samples.length === 0
      // A list that was opened stays open.
      const open = new Set([...place.querySelectorAll('details[open]')].map((one) => one.getAttribute('data-key')))
      const prompts = [...new Set(samples.map(({ prompt }) => prompt))]
      place.replaceChildren(
        ...prompts.map((prompt) =>
          promptOf(
            prompt,
            samples.filter((one) => one.prompt === prompt),
          ),
        ),
      )
      for (const details of place.querySelectorAll('details')) {
        if (open.has(details.getAttribute('data-key'))) details.open = true
      }
    },
  }
}

/**
 * @param {string} prompt
 * @param {(Sample & { run: ShownRun })[]} samples
 */
function promptOf(prompt, samples) {
  const runs = [...new Set(samples.map(({ run }) => run))]
  const columns = runs.map((run) => {
    const own = samples.filter((sample) => sample.run === run).reverse()
    const rest = own.slice(SHOWN)
    const name = runs.length > 1 ? [element('h4', {}, swatch(), run.summary.name)] : []
    const key = `${run.summary.id}\n${prompt}`
    const earlier = element(
      'details',
      { 'data-key': key },
      element('summary', {}, `Earlier (${rest.length})`),
      listOf(rest),
    )
    const answers = element('div', { class: 'answers' }, ...name, listOf(own.slice(0, SHOWN)))
    if (rest.length > 0) answers.append(earlier)
    showLook(answers, run.number)
    return answers
  })
  return element(
    'article',
    { class: 'card' },
    element('h3', { class: 'prompt' }, prompt),
    element('div', { class: 'columns' }, ...columns),
  )
}

/** @param {readonly Sample[]} samples */
function listOf(samples) {
  const items = samples.map(({ step, text, rewards }) =>
    element(
      'li',
      {},
      element('span', { class: 'at' }, `Step ${formatCount(step)}${rewards === '' ? '' : ` · ${rewards}`}`),
      element('p', { class: 'text' }, text === '' ? '(nothing)' : text),
    ),
  )
  return element('ol', { class: 'texts' }, ...items)
}
