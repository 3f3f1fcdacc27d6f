/** What the page shows: the runs that are chosen, what is known of them, and how charts are drawn. */

/** @typedef {import('../payload.js').RunList} RunList */
/** @typedef {import('../payload.js').RunSummary} RunSummary */
/** @typedef {import('../payload.js').RunDetails} RunDetails */
/** @typedef {import('../payload.js').RunMetrics} RunMetrics */

/** As many runs as there are colours. */
export const MOST_CHOSEN = 4

/**
 * A run that is shown.
 * @typedef {object} ShownRun
 * @property {RunSummary} summary
 * @property {RunDetails | undefined} details
 * @property {RunMetrics | undefined} metrics
 * @property {number} number from 1: its colour and dashes
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
  smoothing: 0,
  logarithmic: false,
  onlyDifferences: false,
}

/** Without a choice: the run that changed last. @returns {string[]} */
export function chosenIds() {
  const runs = state.list?.runs ?? []
  const chosen = (state.chosen ?? []).filter((id) => runs.some((run) => run.id === id))
  if (chosen.length > 0) return chosen
  const newest = [...runs].sort((a, b) => b.modified - a.modified)[0]
  return newest ? [newest.id] : []
}

/** @returns {ShownRun[]} */
export function shownRuns() {
  return chosenIds().flatMap((id, place) => {
    const summary = state.list?.runs.find((run) => run.id === id)
    if (!summary) return []
    return [{ summary, details: state.details.get(id), metrics: state.metrics.get(id), number: place + 1 }]
  })
}

/** @param {readonly string[]} ids */
export function choose(ids) {
  state.chosen = ids.slice(0, MOST_CHOSEN)
  const address = `#${state.chosen.map(encodeURIComponent).join('&')}`
  if (location.hash !== address) history.pushState(null, '', address)
}

/** The runs that an address names, so that it can be kept and handed on. */
export function chosenInAddress() {
  const parts = location.hash.slice(1).split('&').filter(Boolean)
  try {
    return parts.length > 0 ? parts.map(decodeURIComponent).slice(0, MOST_CHOSEN) : null
  } catch {
    return null
  }
}
