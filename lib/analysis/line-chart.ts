/** A line chart as SVG: axes with round numbers, and a line for each series, named at its end. */

interface Series {
  name: string
  points: readonly { x: number; y: number }[]
}

interface LineChart {
  title: string
  xLabel: string
  yLabel: string
  series: readonly Series[]
  /** Scales the y axis by powers of ten; values of 0 and less are left out. */
  logarithmic?: boolean
}

const WIDTH = 760
const HEIGHT = 420
const PLOT = { left: 64, right: WIDTH - 190, top: 36, bottom: HEIGHT - 48 }
/** Wong's palette (Nature Methods, 2011), which colour-blind readers can tell apart. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#8a6d00']
const LABEL_HEIGHT = 15

type Place = (value: number) => number

export function lineChart({ title, xLabel, yLabel, series: given, logarithmic = false }: LineChart): string {
  const series = given
    .map(({ name, points }) => ({ name, points: logarithmic ? points.filter(({ y }) => y > 0) : points }))
    .filter(({ points }) => points.length > 0)
  const points = series.flatMap((one) => one.points)
  const xRange = extent(points.map((point) => point.x))
  const yRange = extent(points.map((point) => (logarithmic ? Math.log10(point.y) : point.y)))
  const x = scale(xRange, PLOT.left, PLOT.right)
  const height = scale(yRange, PLOT.bottom, PLOT.top)
  const y: Place = (value) => height(logarithmic ? Math.log10(value) : value)
  const parts = [
    text(PLOT.left, 20, title, 'start', 'font-weight="600"'),
    ...ticks(xRange).map((tick) => text(x(tick), PLOT.bottom + 18, short(tick), 'middle')),
    ...ticks(yRange).flatMap((tick) => [
      rule(height(tick), '#dddddd'),
      text(PLOT.left - 8, height(tick) + 4, short(logarithmic ? 10 ** tick : tick), 'end'),
    ]),
    rule(PLOT.bottom, '#444444'),
    text((PLOT.left + PLOT.right) / 2, HEIGHT - 10, xLabel, 'middle'),
    `<g transform="translate(16 ${HEIGHT / 2}) rotate(-90)">${text(0, 0, yLabel, 'middle')}</g>`,
    ...series.map((one, i) => curve(one, x, y, colour(i))),
    ...names(series, y),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}" font-family="system-ui, sans-serif" font-size="12" fill="#222222">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>
${parts.join('\n')}
</svg>
`
}

const colour = (index: number): string => COLOURS[index % COLOURS.length]!

/** Draws a line, with markers if it has few points. */
function curve({ points }: Series, x: Place, y: Place, stroke: string): string {
  const places = points.map((point) => [x(point.x).toFixed(1), y(point.y).toFixed(1)])
  const marks = points.length > 30 ? [] : places.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="2.5"/>`)
  const line = places.map((place) => place.join()).join(' ')
  return `<g fill="${stroke}"><polyline points="${line}" fill="none" stroke="${stroke}" stroke-width="1.8"/>${marks.join('')}</g>`
}

/** Draws names beside the ends of the lines, moved apart if these are close, and all within the plot. */
function names(series: readonly Series[], y: Place): string[] {
  const labels = series
    .map(({ name, points }, i) => ({ name, fill: colour(i), at: y(points.at(-1)!.y) }))
    .sort((a, b) => a.at - b.at)
  const places = labels.map(({ at }) => at)
  let free = PLOT.top
  for (const [i, at] of places.entries()) {
    places[i] = Math.max(at, free)
    free = places[i]! + LABEL_HEIGHT
  }
  let room = PLOT.bottom
  for (const i of [...places.keys()].reverse()) {
    places[i] = Math.min(places[i]!, room)
    room = places[i]! - LABEL_HEIGHT
  }
  return labels.map(({ name, fill }, i) => text(PLOT.right + 10, places[i]! + 4, name, 'start', `fill="${fill}"`))
}

function scale([low, high]: readonly [number, number], from: number, to: number): Place {
  const span = high - low || 1
  return (value) => from + ((value - low) / span) * (to - from)
}

function extent(values: readonly number[]): [low: number, high: number] {
  return [Math.min(...values), Math.max(...values)]
}

/** Returns a few round numbers within a range. */
function ticks([low, high]: readonly [number, number]): number[] {
  const rough = (high - low || 1) / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough)!
  const first = Math.ceil(low / step)
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step)
}

const short = (value: number): string => String(Number(value.toPrecision(3)))

function rule(y: number, stroke: string): string {
  return `<line x1="${PLOT.left}" y1="${y.toFixed(1)}" x2="${PLOT.right}" y2="${y.toFixed(1)}" stroke="${stroke}"/>`
}

function text(x: number, y: number, content: string, anchor: string, attributes = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" ${attributes}>${escaped(content)}</text>`
}

function escaped(value: string): string {
  return value.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`)
}
