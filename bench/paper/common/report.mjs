/** Tables of a comparison, in Markdown. */
export function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Sample standard deviation; 0 of one value. */
export function deviation(values) {
  const middle = mean(values)
  return values.length < 2
    ? 0
    : Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1))
}

export function markdownTable(header, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n')
}

const last = ({ result }) => result.points.at(-1)
const finished = (cells) => cells.filter(({ result }) => !result.failure)

/** Mean and spread over seeds, at each contestant's best learning rate. */
export function resultTable(results, { metrics }) {
  const header = ['method', 'trained parameters', 'learning rate', 'seeds', ...metrics.map(({ label }) => label)]
  const rows = results.map(({ contestant, learningRate, swept, repeated }) => {
    if (learningRate === null) return [contestant.name, '–', 'none ended', '0', ...metrics.map(() => '–')]
    const ended = finished(repeated)
    const seeds = ended.length === repeated.length ? `${ended.length}` : `${ended.length} of ${repeated.length} ended`
    const parameters = [...swept, ...repeated].find(({ result }) => result.trainableParameters !== null)
    return [
      contestant.name,
      parameters.result.trainableParameters.toLocaleString('en-US'),
      String(learningRate),
      seeds,
      ...metrics.map((metric) => spread(ended, metric)),
    ]
  })
  return markdownTable(header, rows)
}

function spread(cells, { key, format }) {
  const values = cells.map((cell) => last(cell)[key])
  return `${format(mean(values))} ± ${format(deviation(values))}`
}

/** A table of the sweep: the first metric at every learning rate. */
export function sweepTable(results, { metrics: [metric] }) {
  const rates = [...new Set(results.flatMap(({ contestant }) => contestant.learningRates))].sort((a, b) => a - b)
  const rows = results.map(({ contestant, swept }) => [
    contestant.name,
    ...rates.map((rate) => {
      const cell = swept.find(({ learningRate }) => learningRate === rate)
      if (!cell) return ''
      return cell.result.failure ? 'diverged' : metric.format(last(cell)[metric.key])
    }),
  ])
  return markdownTable(['method', ...rates.map(String)], rows)
}

/** The first metric by step, means over seeds: the series of a plot. */
export function seriesOf(results, { metrics: [metric] }) {
  return results.flatMap(({ contestant, repeated }) => {
    const ended = finished(repeated)
    if (ended.length === 0) return []
    const points = ended[0].result.points.map(({ step }, i) => ({
      x: step,
      y: mean(ended.map(({ result }) => result.points[i][metric.key])),
    }))
    return [{ name: contestant.name, points }]
  })
}

export function failures(results) {
  return results.flatMap(({ contestant, swept, repeated }) =>
    [...new Set([...swept, ...repeated])]
      .filter(({ result }) => result.failure)
      .map(
        ({ learningRate, seed, result }) => `- ${contestant.name} at ${learningRate}, seed ${seed}: ${result.failure}`,
      ),
  )
}
