// What every benchmark reports, for people and for bench/diff.mjs. A line is one thing that was measured:
//
//   { name, sides: [{ name, seconds, peakMemory?, agrees?, agreement? }], amount?, unit?, possible?, limit?, memoryLimit? }
//
// `seconds` is the spread of one run, `amount` what a run does in `unit`s (a rate without the "per second"), `possible`
// the least seconds that the machine's measured peaks allow, `limit` the most seconds that were aimed at. `peakMemory` and
// `memoryLimit` are bytes. Sides after the first are compared with it: `agrees` says
// whether they computed the same thing, `agreement` how well.
import { writeFileSync } from 'node:fs'
import { mebibytes, table } from './table.mjs'

/** @typedef {ReturnType<typeof import('./turns.mjs').spread>} Spread of seconds */
/** @typedef {{ name: string, seconds: Spread, peakMemory?: number, agrees?: boolean, agreement?: string }} Side */
/** @typedef {{ name: string, sides: Side[], amount?: number, unit?: string, possible?: number, limit?: number, memoryLimit?: number }} Line */

/**
 * Prints the lines, writes them to `options.json`, and makes the process fail if sides disagree.
 * @param {{ benchmark: string, machine: object, options: any, lines: Line[], notes?: string[], facts?: object }} what
 */
export function report({ benchmark, machine, options, lines, notes = [], facts = {} }) {
  console.log([`\n${lineTable(lines)}`, ...notes].join('\n\n'))
  if (options.json) {
    const content = { benchmark, machine, model: options.model, rounds: options.rounds, ...facts, lines }
    writeFileSync(options.json, `${JSON.stringify(content, null, 2)}\n`)
  }
  const apart = lines.flatMap(({ name, sides }) =>
    sides.filter(({ agrees }) => agrees === false).map((side) => `${name}, ${side.name}`),
  )
  if (apart.length === 0) return
  console.error(`Results do not agree: ${apart.join('; ')}.`)
  process.exitCode = 1
}

/** @type {[string, (side: Side, line: Line) => string | number | undefined][]} */
const columns = [
  ['line', (_, line) => line.name],
  ['side', (side) => side.name],
  ['ms', ({ seconds }) => milliseconds(seconds.median)],
  ['least–most', ({ seconds }) => `${milliseconds(seconds.least)}–${milliseconds(seconds.most)}`],
  ['runs', ({ seconds }) => seconds.all.length],
  ['rate', ({ seconds }, { amount }) => rate(amount, seconds.median)],
  ['possible', (_, { amount, possible }) => rate(amount, possible)],
  ['unit', (_, { unit }) => unit],
  ['achieved', ({ seconds }, { possible }) => percent(possible, seconds.median)],
  ['limit ms', (_, { limit }) => limit && milliseconds(limit)],
  ['peak MiB', ({ peakMemory }) => peakMemory && mebibytes(peakMemory)],
  ['limit MiB', (_, { memoryLimit }) => memoryLimit && mebibytes(memoryLimit)],
  ['memory beside ours', (side, { sides }) => memoryRatio(side, sides[0])],
  ['node-mora is faster by', (side, { sides }) => ratio(side, sides[0])],
  ['agrees', ({ agreement }) => agreement],
]

/**
 * Makes a row for each side of each line; leaves empty columns out.
 * @param {Line[]} lines
 */
export function lineTable(lines) {
  const rows = lines.flatMap((line) => line.sides.map((side) => columns.map(([, cell]) => cell(side, line))))
  const used = columns.map((_, i) => rows.some((row) => row[i] !== undefined))
  const only = (cells) => cells.filter((_, i) => used[i])
  const header = only(columns.map(([name]) => name))
  return table(
    header,
    rows.map((row) => only(row).map((cell) => cell ?? '-')),
  )
}

export function milliseconds(seconds) {
  const value = seconds * 1000
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}

function rate(amount, seconds) {
  if (amount === undefined || seconds === undefined) return undefined
  const value = amount / seconds
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}

const percent = (possible, seconds) =>
  possible === undefined ? undefined : `${((100 * possible) / seconds).toFixed(0)}%`

const ratio = (side, first) =>
  side === first ? undefined : `${(side.seconds.median / first.seconds.median).toFixed(2)}×`

/**
 * @param {Side} side
 * @param {Side} first
 */
const memoryRatio = ({ peakMemory }, first) =>
  peakMemory === undefined || first.peakMemory === undefined || peakMemory === first.peakMemory
    ? undefined
    : `${(peakMemory / first.peakMemory).toFixed(2)}×`

/** Returns `{ agrees, agreement }` for a relative difference and the largest one that rounding explains. */
export function agreementOf(difference, allowed) {
  const agrees = difference <= allowed
  return { agrees, difference, agreement: `${agrees ? 'yes' : 'NO'}, ${difference.toExponential(0)} apart` }
}
