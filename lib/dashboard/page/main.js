/** The page: requests the runs every second, and shows what is new. */
import { AXES } from './axes.js'
import { startCharts } from './charts.js'
import { startConfiguration } from './configuration.js'
import { byId, element, setText } from './elements.js'
import { formatCount, formatNumber } from './format.js'
import { startRunList } from './run-list.js'
import { startCourse, startRunTable } from './run-table.js'
import { startSamples } from './samples.js'
import { openSource } from './source.js'
import { chosenIds, chosenInAddress, shownRuns, state } from './state.js'
import { startTheme } from './theme.js'
import { startTryIt } from './try-it.js'

/** Milliseconds between two requests. */
const INTERVAL = 1_000
/** Number of rounds of requests between two for configuration and samples. */
const DETAILS_EVERY = 5
/** Milliseconds between two announcements to a screen reader. */
const ANNOUNCE_EVERY = 20_000

const source = openSource()
const runList = startRunList(choiceChanged)
const course = startCourse()
const charts = startCharts()
const runTable = startRunTable()
const samples = startSamples()
const configuration = startConfiguration()
const tryIt = startTryIt(source.made !== null)
let announced = Number.NEGATIVE_INFINITY
let asked = 0
/** @type {Promise<void> | null} */
let asking = null

startTheme(() => charts.redraw())
bindControls()
addEventListener('popstate', () => {
  state.chosen = chosenInAddress()
  choiceChanged()
})
document.addEventListener('visibilitychange', () => void ask())
await ask()
if (source.made === null) setInterval(() => void ask(), INTERVAL)

function bindControls() {
  // The address contains the chosen runs, so this link must not change it.
  byId('skip', HTMLAnchorElement).addEventListener('click', (event) => {
    event.preventDefault()
    byId('main', HTMLElement).focus()
  })
  const axis = byId('axis', HTMLSelectElement)
  const smoothing = byId('smoothing', HTMLInputElement)
  axis.append(...Object.entries(AXES).map(([value, { title }]) => element('option', { value }, title)))
  const readViews = () => {
    state.axis = /** @type {import('./axes.js').AxisName} */ (axis.value)
    state.smoothing = Number(smoothing.value)
    setText(byId('smoothing-value', HTMLElement), String(state.smoothing))
    state.logarithmic = byId('logarithmic', HTMLInputElement).checked
    state.allOptions = byId('all-options', HTMLInputElement).checked
  }
  for (const id of ['axis', 'smoothing', 'logarithmic', 'all-options'])
    byId(id, HTMLElement).addEventListener('input', () => {
      readViews()
      show()
    })
  // The browser may have restored earlier settings.
  readViews()
}

function choiceChanged() {
  announced = Number.NEGATIVE_INFINITY
  asked = 0
  show()
  // A pending request is for the runs chosen before.
  void (asking ?? Promise.resolve()).then(ask)
}

/** Sends one request at a time, and none while the page is hidden. */
function ask() {
  if (document.hidden && state.list !== null) return Promise.resolve()
  asking ??= askAll()
    .then(
      () => showConnection(true),
      () => showConnection(false),
    )
    .finally(() => {
      asking = null
    })
  return asking
}

async function askAll() {
  state.list = await source.list()
  const ids = chosenIds()
  const withDetails = asked++ % DETAILS_EVERY === 0
  await Promise.all(
    ids.map(async (id) => {
      state.metrics.set(id, await source.metrics(id, state.metrics.get(id)))
      if (withDetails || !state.details.has(id)) state.details.set(id, await source.details(id))
    }),
  )
  for (const id of state.metrics.keys()) if (!ids.includes(id)) state.metrics.delete(id)
  show()
}

function show() {
  const runs = shownRuns()
  const names = runs.map(({ summary }) => summary.name)
  setText(byId('place', HTMLElement), state.list?.folder ?? '')
  byId('place', HTMLElement).title = state.list?.folder ?? ''
  setText(byId('title', HTMLElement), names.length > 1 ? `${names.length} runs compared` : (names[0] ?? 'No runs yet'))
  document.title = names.length > 0 ? `${names.join(', ')} – mora` : 'mora'
  byId('content', HTMLElement).hidden = runs.length === 0
  showEmpty(runs.length === 0)
  runList.update()
  course.update(runs)
  charts.update(runs)
  runTable.update(runs)
  samples.update(runs)
  tryIt.update(runs)
  configuration.update(runs)
  announce(runs)
}

/** @param {boolean} isEmpty */
function showEmpty(isEmpty) {
  const place = byId('empty', HTMLElement)
  place.hidden = !isEmpty
  if (!isEmpty || place.childElementCount > 0) return
  place.append(
    element('p', {}, 'This folder holds no run yet. A run appears here as soon as it begins:'),
    element(
      'pre',
      {},
      element('code', {}, `mora train --model MODEL --data rows.jsonl --output ${state.list?.folder ?? '.'}/first`),
    ),
  )
}

/** @param {boolean} isConnected */
function showConnection(isConnected) {
  const place = byId('connection', HTMLElement)
  const { made } = source
  place.dataset.state = made !== null ? 'report' : isConnected ? 'live' : 'lost'
  if (made !== null) setText(place, `Report of ${made.slice(0, 16).replace('T', ' ')} UTC`)
  else setText(place, isConnected ? 'Live' : 'The dashboard does not answer; these are its last values')
}

/**
 * Announces the latest values to screen readers now and then: announcing every one would be too much.
 * @param {ReturnType<typeof shownRuns>} runs
 */
function announce(runs) {
  if (runs.some(({ metrics }) => metrics === undefined) || performance.now() - announced < ANNOUNCE_EVERY) return
  announced = performance.now()
  const parts = runs.map(({ summary: { name, status, step, totalSteps, loss } }) => {
    const of = totalSteps ? ` of ${formatCount(totalSteps)}` : ''
    return step === null
      ? `${name}: no steps yet`
      : `${name}: ${status}, step ${formatCount(step)}${of}, loss ${formatNumber(loss)}`
  })
  setText(byId('announcement', HTMLElement), parts.join('. '))
}
