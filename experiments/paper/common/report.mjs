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

/** The columns of a plan's tables, the first being what contestants are judged by. */
export const metricsOf = ({ average, tasks }) => [
  ...(average ? [average] : []),
  ...tasks.flatMap(({ measures }) => measures),
]

/** Everything that was measured at the end of a run, by its name. */
function measured({ result: { points, spectra } }) {
  return { ...points.at(-1), ...spectra?.above, 'effective rank': spectra?.effectiveRank }
}

const finished = (cells) => cells.filter(({ result }) => !result.failure)

/** Mean and spread over seeds of each contestant's best trial. */
export function resultTable(results, metrics) {
  const header = ['method', 'trained parameters', 'learning rate', 'seeds', ...metrics.map(({ name }) => name)]
  const rows = results.map(({ contestant, best, swept, repeated }) => {
    if (best === null) return [contestant.name, '–', 'none ended', '0', ...metrics.map(() => '–')]
    const ended = finished(repeated)
    const seeds = ended.length === repeated.length ? `${ended.length}` : `${ended.length} of ${repeated.length} ended`
    const parameters = [...swept, ...repeated].find(({ result }) => result.trainableParameters !== null)
    return [
      contestant.name,
      parameters.result.trainableParameters.toLocaleString('en-US'),
      [best.learningRate, best.contestant.label].filter(Boolean).join(', '),
      seeds,
      ...metrics.map((metric) => spread(ended, metric)),
    ]
  })
  return markdownTable(header, rows)
}

function spread(cells, { name, format }) {
  const values = cells.map((cell) => measured(cell)[name])
  return cells.length === 1 ? format(values[0]) : `${format(mean(values))} ± ${format(deviation(values))}`
}

/** A table of the sweep: a metric at every learning rate, a row for each variant of a contestant. */
export function sweepTable(results, metric) {
  const rates = [...new Set(results.flatMap(({ contestant }) => contestant.learningRates))].sort((a, b) => a - b)
  const rows = results.flatMap(({ contestant, swept }) =>
    contestant.variants.map(({ label }) => [
      [contestant.name, label].filter(Boolean).join(', '),
      ...rates.map((rate) => {
        const cell = swept.find(({ learningRate, contestant: trial }) => learningRate === rate && trial.label === label)
        if (!cell) return ''
        return cell.result.failure ? 'diverged' : metric.format(measured(cell)[metric.name])
      }),
    ]),
  )
  return markdownTable(['method', ...rates.map(String)], rows)
}

/** A metric by step, means over seeds: the series of a plot. */
export function seriesOf(results, { name }) {
  return results.flatMap(({ contestant, repeated }) => {
    const ended = finished(repeated)
    if (ended.length === 0) return []
    const points = ended[0].result.points.map(({ step }, i) => ({
      x: step,
      y: mean(ended.map(({ result }) => result.points[i][name])),
    }))
    return [{ name: contestant.name, points }]
  })
}

/** The mean spectrum of all layers, in the first seed's run of each contestant's best trial. */
export function spectraSeries(results) {
  return results.flatMap(({ contestant, repeated: [cell] }) =>
    cell?.result.spectra
      ? [{ name: contestant.name, points: cell.result.spectra.spectrum.map((y, i) => ({ x: i + 1, y })) }]
      : [],
  )
}

export function failures(results) {
  return results.flatMap(({ swept, repeated }) =>
    [...new Set([...swept, ...repeated])]
      .filter(({ result }) => result.failure)
      .map(
        ({ contestant: { name, label }, learningRate, seed, result }) =>
          `- ${[name, label].filter(Boolean).join(', ')} at ${learningRate}, seed ${seed}: ${result.failure}`,
      ),
  )
}
