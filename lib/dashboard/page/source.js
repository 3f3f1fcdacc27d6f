/** Where runs come from: the server, or the data that a report carries. */

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
    const { version, steps, evaluations } = before ?? {}
    const known = [version, steps?.rows, steps?.width, evaluations?.rows, evaluations?.width]
    return joined(before, await get('api/metrics', before ? { id, known: known.join() } : { id }))
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
 * What was known, with what is new; the same object where nothing is.
 * @param {RunMetrics | undefined} before
 * @param {RunMetrics} now
 * @returns {RunMetrics}
 */
export function joined(before, now) {
  if (!before || before.version !== now.version) return now
  const isSame = (/** @type {'steps' | 'evaluations'} */ table) => now[table].rows === before[table].rows
  if (isSame('steps') && isSame('evaluations') && now.malformed === before.malformed) return before
  return {
    ...now,
    steps: joinedTable(before.steps, now.steps),
    evaluations: joinedTable(before.evaluations, now.evaluations),
  }
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
  return { ...now, from: 0, steps: after(before.steps, now.steps), metrics: Object.fromEntries(metrics) }

  /**
   * @template Item
   * @param {Item[] | undefined} old
   * @param {Item[]} fresh
   */
  function after(old, fresh) {
    return [...(old ?? []).slice(0, now.from), ...fresh]
  }
}
