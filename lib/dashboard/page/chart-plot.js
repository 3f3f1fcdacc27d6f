/** A drawing of columns with uPlot, in the colours of the style sheet. */
import { COLUMNS_OF_A_RUN } from './chart-data.js'
import { formatTick } from './format.js'
import { colour } from './theme.js'

/** @typedef {import('uplot')} Plot */
/** @typedef {import('uplot').Series} Series */

/** @type {typeof import('uplot')} */
const UPlot = /** @type {any} */ (globalThis).uPlot

const HEIGHT = 230
const FONT = '12px system-ui, sans-serif'
/** Of the runs in turn: told apart without colour too. */
const DASHES = [[], [8, 4], [2, 4], [12, 4, 2, 4]]

/**
 * Steps that are looked at, the same in every chart; null for all.
 * @typedef {{ range: [number, number] | null }} Zoom
 */

/**
 * @param {HTMLElement} parent
 * @param {object} options
 * @param {readonly number[]} options.numbers of the runs, for their colours
 * @param {boolean} options.logarithmic
 * @param {Zoom} options.zoom
 * @param {(range: [number, number] | null) => void} options.onZoom
 * @param {(place: number | null) => void} options.onCursor
 * @param {import('uplot').AlignedData} data
 * @returns {Plot}
 */
export function plotColumns(parent, { numbers, logarithmic, zoom, onZoom, onCursor }, data) {
  return new UPlot(
    {
      width: Math.max(parent.clientWidth, 100),
      height: HEIGHT,
      legend: { show: false },
      cursor: {
        y: false,
        sync: { key: 'steps', scales: ['x', null] },
        drag: { x: true, y: false, setScale: false },
        bind: {
          dblclick: () => () => {
            onZoom(null)
            return null
          },
        },
      },
      scales: {
        x: { time: false, range: (_, min, max) => zoom.range ?? [min, max === min ? min + 1 : max] },
        y: logarithmic ? { distr: 3, range: (_, min, max) => UPlot.rangeLog(min, max, 10, false) } : {},
      },
      axes: [
        { ...axisOf(Number.isInteger, false), size: 34 },
        { ...axisOf(Number.isFinite, logarithmic), size: 58 },
      ],
      series: [{}, ...numbers.flatMap(seriesOfRun)],
      bands: numbers.map((number, place) => {
        const low = 1 + place * COLUMNS_OF_A_RUN
        return { series: [low + 1, low], fill: () => faint(colour(`--run-${number}`), 0.18) }
      }),
      hooks: {
        setCursor: [(plot) => onCursor(plot.cursor.idx ?? null)],
        setSelect: [
          (plot) => {
            const { left, width } = plot.select
            if (width < 2) return
            const [from, to] = [plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x')]
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
            onZoom([from, to])
          },
        ],
      },
    },
    data,
    parent,
  )
}

/**
 * @param {(value: unknown) => boolean} isShown
 * @param {boolean} logarithmic
 * @returns {import('uplot').Axis}
 */
function axisOf(isShown, logarithmic) {
  return {
    stroke: () => colour('--axis'),
    font: FONT,
    grid: { stroke: () => colour('--grid'), width: 1 },
    ticks: { show: false },
    values: (_, splits, _axis, _space, increment) =>
      splits.map((value) => (isShown(value) ? formatTick(value, logarithmic ? 0 : increment) : '')),
  }
}

/**
 * @param {number} number
 * @returns {Series[]}
 */
function seriesOfRun(number) {
  const stroke = () => colour(`--run-${number}`)
  const edge = { stroke: () => 'transparent', width: 0, points: { show: false } }
  const dash = DASHES[number - 1] ?? []
  return [
    edge,
    edge,
    { stroke: () => faint(stroke(), 0.35), width: 1, points: { show: false } },
    { stroke, width: 1.8, dash, points: { size: 5, fill: stroke } },
  ]
}

/**
 * @param {string} value `rgb(…)`, as computed styles have it
 * @param {number} opacity
 */
function faint(value, opacity) {
  return value.replace(/^rgba?\(([^,)]+),([^,)]+),([^,)]+).*$/, `rgba($1,$2,$3,${opacity})`)
}

/**
 * Moves the cursor of a plot by a key; returns whether the key was one of its own.
 * @param {Plot} plot
 * @param {KeyboardEvent} event
 */
export function moveCursor(plot, event) {
  const [steps] = plot.data
  const { min, max } = plot.scales.x ?? {}
  const isSeen = (/** @type {number} */ step) => step >= (min ?? step) && step <= (max ?? step)
  const [first, last] = [steps.findIndex(isSeen), steps.length - 1 - [...steps].reverse().findIndex(isSeen)]
  const at = plot.cursor.idx ?? null
  const stride = event.shiftKey ? 10 : 1
  const places = {
    ArrowLeft: (at ?? last + 1) - stride,
    ArrowRight: (at ?? first - 1) + stride,
    Home: first,
    End: last,
  }
  if (event.key === 'Escape') {
    placeCursor(plot, -10)
    return true
  }
  const wanted = places[/** @type {keyof typeof places} */ (event.key)]
  const step = steps[Math.min(Math.max(wanted, first), last)]
  if (wanted === undefined || step === undefined) return false
  placeCursor(plot, plot.valToPos(step, 'x'))
  return true
}

/**
 * In this plot and, as a mouse does, in all that share its cursor.
 * @param {Plot} plot
 * @param {number} left
 */
function placeCursor(plot, left) {
  /** @type {(place: { left: number, top: number }, fire: boolean, share: boolean) => void} its last argument has no type */
  const place = plot.setCursor
  place({ left, top: left < 0 ? left : plot.over.clientHeight / 2 }, true, true)
}
