/** The source of runs: the server, or the data in a report. */

/** @typedef {import('../payload.js').RunList} RunList */
/** @typedef {import('../payload.js').RunDetails} RunDetails */
/** @typedef {import('../payload.js').RunMetrics} RunMetrics */
/** @typedef {import('../payload.js').KnownMetrics} KnownMetrics */
/** @typedef {import('../payload.js').TablePart} TablePart */
/** @typedef {import('../payload.js').ReportData} ReportData */

/**
 * @typedef {object} Source
 * @property {string | null} made when a report was made; null where runs are live
 * @property {() => Promise<RunList>} list
 * @property {(id: string) => Promise<RunDetails>} details
 * @property {(id: string, before: RunMetrics | undefined) => Promise<RunMetrics>} metrics everything so far
 */

/** @returns {Source} */
export function openSource() {
  const report = document.getElementById('report-data')
  return report ? reportSource(JSON.parse(report.textContent ?? '')) : serverSource
}

/**
 * @param {ReportData} data
 * @returns {Source}
 */
function reportSource({ made, list, details, metrics }) {
  return {
    made,
    list: async () => list,
    details: async (id) => /** @type {RunDetails} */ (details[id]),
    metrics: async (id) => /** @type {RunMetrics} */ (metrics[id]),
  }
}

/** @type {Source} */
const serverSource = {
  made: null,
  list: () => get('api/runs', {}),
  details: (id) => get('api/details', { id }),
  metrics: async (id, before) => {
    if (!before) return get('api/metrics', { id })
    const known = tablesOf(before).flatMap(({ rows, width }) => [rows, width])
    return joined(before, await get('api/metrics', { id, known: [before.version, ...known].join() }))
  },
}

/**
 * @param {string} path
 * @param {Record<string, string>} query
 */
async function get(path, query) {
  const response = await fetch(`${path}?${new URLSearchParams(query)}`)
  if (!response.ok) throw new Error(`The dashboard answered ${response.status}.`)
  return response.json()
}

/**
 * Adds new data to what was known; returns the same object if nothing is new.
 * @param {RunMetrics | undefined} before
 * @param {RunMetrics} now
 * @returns {RunMetrics}
 */
export function joined(before, now) {
  if (!before || before.version !== now.version) return now
  const [old, fresh] = [tablesOf(before), tablesOf(now)]
  const isSame = fresh.length === old.length && fresh.every(({ rows }, i) => rows === old[i]?.rows)
  if (isSame && now.malformed === before.malformed && now.hasMoreOwn === before.hasMoreOwn) return before
  return {
    ...now,
    steps: joinedTable(before.steps, now.steps),
    evaluations: joinedTable(before.evaluations, now.evaluations),
    own: now.own.map((part, i) => ({ name: part.name, ...joinedTable(before.own[i] ?? part, part) })),
  }
}

/**
 * Returns the tables in the order in which requests describe them.
 * @param {RunMetrics} metrics
 */
function tablesOf({ steps, evaluations, own }) {
  return [steps, evaluations, ...own]
}

/**
 * @param {TablePart} before
 * @param {TablePart} now
 * @returns {TablePart}
 */
function joinedTable(before, now) {
  if (now.from === 0) return now
  const metrics = Object.entries(now.metrics).map(([name, { mean, low, high }]) => {
    const old = before.metrics[name]
    return [
      name,
      { mean: after(old?.mean, mean), low: low && after(old?.low, low), high: high && after(old?.high, high) },
    ]
  })
  const at = Object.entries(now.at).map(([name, values]) => [name, after(before.at[name], values)])
  return {
    ...now,
    from: 0,
    steps: after(before.steps, now.steps),
    at: Object.fromEntries(at),
    metrics: Object.fromEntries(metrics),
  }

  /**
   * @template Item
   * @param {Item[] | undefined} old
   * @param {Item[]} fresh
   */
  function after(old, fresh) {
    return [...(old ?? []).slice(0, now.from), ...fresh]
  }
}
