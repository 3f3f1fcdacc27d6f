/** Shows the configuration of the chosen runs, and where they differ. */
import { byId, element } from './elements.js'
import { state } from './state.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */

/** @type {Record<string, string>} */
const GROUPS = {
  options: 'Options',
  machine: 'Machine',
  versions: 'Versions',
  hashes: 'Hashes',
  trainable: 'Trained',
  run: 'Run',
  result: 'Result',
}

export function startConfiguration() {
  const section = byId('configuration-section', HTMLElement)
  const place = byId('configuration', HTMLElement)
  const choice = byId('all-options-label', HTMLElement)
  let shown = ''
  return {
    /** @param {readonly ShownRun[]} runs */
    update(runs) {
      const facts = runs.map(({ details }) => details?.facts ?? [])
      const now = JSON.stringify([facts, state.allOptions, runs.map(({ summary }) => summary.name)])
      if (now === shown) return
      shown = now
      section.hidden = facts.every((one) => one.length === 0)
      choice.hidden = runs.length < 2
      place.replaceChildren(tableOf(runs, !state.allOptions && runs.length > 1))
    },
  }
}

/**
 * @param {readonly ShownRun[]} runs
 * @param {boolean} onlyDifferences
 */
function tableOf(runs, onlyDifferences) {
  const values = runs.map(
    ({ details }) => new Map((details?.facts ?? []).map((fact) => [`${fact.group}\n${fact.name}`, fact.value])),
  )
  const keys = [...new Set(values.flatMap((one) => [...one.keys()]))]
  const groups = [...new Set(keys.map((key) => key.split('\n')[0] ?? ''))]
  const heads = ['Name', ...runs.map(({ summary }) => summary.name)]
  const table = element(
    'table',
    { class: 'configuration' },
    element('caption', { class: 'unseen' }, 'Configuration'),
    element('thead', {}, element('tr', {}, ...heads.map((name) => element('th', { scope: 'col' }, name)))),
  )
  for (const group of groups) {
    const rows = keys
      .filter((key) => key.startsWith(`${group}\n`))
      .map((key) => ({ name: key.slice(group.length + 1), cells: values.map((one) => one.get(key)) }))
      .map((row) => ({ ...row, differs: new Set(row.cells).size > 1 }))
      .filter(({ differs }) => differs || !onlyDifferences)
    if (rows.length === 0) continue
    const title = element('th', { scope: 'rowgroup', colspan: heads.length }, GROUPS[group] ?? group)
    table.append(element('tbody', {}, element('tr', { class: 'group' }, title), ...rows.map(rowOf)))
  }
  if (table.tBodies.length === 0) return element('p', { class: 'note' }, 'These runs have the same configuration.')
  return table
}

/** @param {{ name: string, cells: (string | undefined)[], differs: boolean }} row */
function rowOf({ name, cells, differs }) {
  const mark = differs ? [element('span', { class: 'differs' }, 'differs')] : []
  return element(
    'tr',
    { class: differs ? 'different' : null },
    element('th', { scope: 'row' }, name, ...mark),
    ...cells.map((cell) => element('td', {}, cell ?? '–')),
  )
}
