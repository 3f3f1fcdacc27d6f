import { milliseconds } from './report.mjs'
import { table } from './table.mjs'

/** Reads a report of `npm run bench` or of a single benchmark as `{ key: seconds }`, a key for each side of each line. */
function measurements(content) {
  const all = new Map()
  for (const { benchmark, lines } of content.reports ?? [content]) {
    for (const { name, sides } of lines)
      for (const side of sides) all.set([benchmark, name, side.name].join(' · '), side.seconds)
  }
  return all
}

/** Lists the lines of both reports with the ratio of their medians, then those that only one report has. */
export function differenceReport(before, after) {
  const [a, b] = [measurements(before), measurements(after)]
  const common = [...a.keys()].filter((key) => b.has(key))
  const rows = common.map((key) => {
    const [was, is] = [a.get(key), b.get(key)]
    return [
      key,
      milliseconds(was.median),
      milliseconds(is.median),
      `${(is.median / was.median).toFixed(2)}×`,
      verdict(was, is),
    ]
  })
  const only = (title, mine, other) => {
    const keys = [...mine.keys()].filter((key) => !other.has(key))
    return keys.length > 0 ? [`${title}:\n${keys.map((key) => `  ${key}`).join('\n')}`] : []
  }
  return [
    table(['line', 'before ms', 'after ms', 'time', ''], rows),
    ...only('Only before', a, b),
    ...only('Only after', b, a),
  ].join('\n\n')
}

/** Two sides differ if the ranges of their times do not overlap. */
function verdict(was, is) {
  if (is.most < was.least) return 'faster'
  if (is.least > was.most) return 'slower'
  return 'within the spread'
}
