/** The state of the page: the chosen runs, their data, and how charts are drawn. */
import { LOOKS } from './look.js'

/** @typedef {import('../payload.js').RunList} RunList */
/** @typedef {import('../payload.js').RunSummary} RunSummary */
/** @typedef {import('../payload.js').RunDetails} RunDetails */
/** @typedef {import('../payload.js').RunMetrics} RunMetrics */

/** Maximum number of chosen runs: as many as can be told apart. */
export const MOST_CHOSEN = LOOKS

/**
 * A run that is shown.
 * @typedef {object} ShownRun
 * @property {RunSummary} summary
 * @property {RunDetails | undefined} details
 * @property {RunMetrics | undefined} metrics
 * @property {number} number from 1: its colour and dashes, the same as long as it is shown
 */

export const state = {
  /** @type {RunList | null} */
  list: null,
  /** Ids, in the order in which they were chosen; null until somebody chooses. */
  /** @type {string[] | null} */
  chosen: chosenInAddress(),
  /** @type {Map<string, RunDetails>} */
  details: new Map(),
  /** @type {Map<string, RunMetrics>} */
  metrics: new Map(),
  /** @type {import('./axes.js').AxisName} */
  axis: 'step',
  smoothing: 0,
  logarithmic: false,
  allOptions: false,
}

/** By default the run that changed last. @returns {string[]} */
export function chosenIds() {
  const runs = state.list?.runs ?? []
  const chosen = (state.chosen ?? []).filter((id) => runs.some((run) => run.id === id))
  if (chosen.length > 0) return chosen
  const newest = [...runs].sort((a, b) => b.modified - a.modified)[0]
  return newest ? [newest.id] : []
}

/** @returns {ShownRun[]} */
export function shownRuns() {
  const numbers = runNumbers()
  return chosenIds().flatMap((id) => {
    const summary = state.list?.runs.find((run) => run.id === id)
    if (!summary) return []
    return [{ summary, details: state.details.get(id), metrics: state.metrics.get(id), number: numbers.get(id) ?? 1 }]
  })
}

/** @type {Map<string, number>} */
const numbers = new Map()

/** Returns the numbers of the chosen runs: each the lowest that was free when its run was chosen. */
export function runNumbers() {
  const ids = chosenIds()
  for (const id of numbers.keys()) if (!ids.includes(id)) numbers.delete(id)
  for (const id of ids) {
    if (numbers.has(id)) continue
    const taken = new Set(numbers.values())
    let number = 1
    while (taken.has(number)) number++
    numbers.set(id, number)
  }
  return numbers
}

/** @param {readonly string[]} ids */
export function choose(ids) {
  state.chosen = ids.slice(0, MOST_CHOSEN)
  const address = `#${state.chosen.map(encodeURIComponent).join('&')}`
  if (location.hash !== address) history.pushState(null, '', address)
}

/** Returns the runs in the address, which can therefore be saved and shared. */
export function chosenInAddress() {
  const parts = location.hash.slice(1).split('&').filter(Boolean)
  try {
    return parts.length > 0 ? parts.map(decodeURIComponent).slice(0, MOST_CHOSEN) : null
  } catch {
    return null
  }
}
