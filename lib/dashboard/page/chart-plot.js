/** Draws columns with uPlot, in the colours of the style sheet. */
import { AXES } from './axes.js'
import { COLUMNS_OF_A_CURVE } from './chart-data.js'
import { formatTick } from './format.js'
import { colourOf, dashesOf } from './look.js'
import { colour } from './theme.js'

/** @typedef {import('uplot')} Plot */
/** @typedef {import('uplot').Series} Series */

/** @type {typeof import('uplot')} */
const UPlot = /** @type {any} */ (globalThis).uPlot

const FONT = '12px system-ui, sans-serif'
/** Maximum distance in pixels from the line that the cursor points at. */
const NEAR = 24
/** Minimum distance between the circles of a line in pixels. */
const ROOM = 14
/** Number of curves from which on circles are small. */
const MANY = 8

/**
 * The visible part of the axis, the same in every chart; null for all.
 * @typedef {{ range: [number, number] | null }} Zoom
 */

/**
 * The look of a curve: the colour and dashes of its run, and circles if it is a second curve of the run.
 * @typedef {{ number: number, circles: boolean }} Look
 */

/**
 * @param {HTMLElement} parent
 * @param {object} options
 * @param {readonly Look[]} options.looks of the curves
 * @param {import('./axes.js').AxisName} options.axis
 * @param {boolean} options.logarithmic
 * @param {Zoom} options.zoom
 * @param {(range: [number, number] | null) => void} options.onZoom
 * @param {(place: number | null) => void} options.onCursor
 * @param {(curve: number | null) => void} options.onPointed at a curve
 * @param {import('uplot').AlignedData} data
 * @returns {Plot}
 */
export function plotColumns(parent, { looks, axis, logarithmic, zoom, onZoom, onCursor, onPointed }, data) {
  return new UPlot(
    {
      width: Math.max(parent.clientWidth, 100),
      height: parent.clientHeight,
      legend: { show: false },
      focus: { alpha: 0.25 },
      cursor: {
        y: false,
        sync: { key: 'steps', scales: ['x', null] },
        drag: { x: true, y: false, setScale: false },
        focus: {
          prox: looks.length > 1 ? NEAR : -1,
          dist: (_, series, _place, value, cursor) => (isLine(series) ? value - cursor : Number.POSITIVE_INFINITY),
        },
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
        { ...axisOf(AXES[axis].formatTick), ...incrementsOf(AXES[axis]), size: 34 },
        { ...axisOf((value, increment) => formatTick(value, logarithmic ? 0 : increment)), size: 58 },
      ],
      series: [{}, ...looks.flatMap((look) => seriesOf(look, looks.length < MANY ? 8 : 5))],
      bands: looks.map(({ number }, place) => {
        const low = 1 + place * COLUMNS_OF_A_CURVE
        return { series: [low + 1, low], fill: () => faint(colour(colourOf(number)), 0.18) }
      }),
      hooks: {
        setCursor: [(plot) => onCursor(plot.cursor.idx ?? null)],
        setSeries: [(_, series) => onPointed(series === null ? null : Math.floor((series - 1) / COLUMNS_OF_A_CURVE))],
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

/** @param {number} series */
function isLine(series) {
  return series % COLUMNS_OF_A_CURVE === 0
}

/** @param {import('./axes.js').Axis} axis */
function incrementsOf({ increments }) {
  return increments ? { incrs: increments } : {}
}

/**
 * @param {(value: number, increment: number) => string} format
 * @returns {import('uplot').Axis}
 */
function axisOf(format) {
  return {
    stroke: () => colour('--axis'),
    font: FONT,
    grid: { stroke: () => colour('--grid'), width: 1 },
    ticks: { show: false },
    values: (_, splits, _axis, _space, increment) =>
      splits.map((value) => (Number.isFinite(value) ? format(value, increment) : '')),
  }
}

/**
 * @param {Look} look
 * @param {number} size of circles, in pixels
 * @returns {Series[]}
 */
function seriesOf({ number, circles }, size) {
  const stroke = () => colour(colourOf(number))
  const edge = { stroke: () => 'transparent', width: 0, points: { show: false } }
  /** @type {Series} */
  const line = { stroke, width: 1.8, dash: dashesOf(number), points: { size: 5, fill: stroke } }
  /** @type {Series} */
  const circled = {
    stroke,
    width: 1.2,
    dash: dashesOf(number),
    points: { size, width: 1.8, stroke, fill: () => colour('--surface'), show: hasRoom },
  }
  return [
    edge,
    edge,
    { stroke: () => faint(stroke(), 0.35), width: 1, points: { show: false } },
    circles ? circled : line,
  ]
}

/**
 * @param {Plot} plot
 * @param {number} series
 */
function hasRoom({ data, over }, series) {
  const count = Array.from(data[series] ?? []).filter((value) => typeof value === 'number').length
  return count * ROOM < over.clientWidth
}

/**
 * @param {string} value `rgb(…)`, the form of computed styles
 * @param {number} opacity
 */
function faint(value, opacity) {
  return value.replace(/^rgba?\(([^,)]+),([^,)]+),([^,)]+).*$/, `rgba($1,$2,$3,${opacity})`)
}
