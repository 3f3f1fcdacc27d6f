// The experiments of the MoRA paper (arXiv 2405.12130), at the size of this machine: npm run paper -- --help Each contestant is
// swept over its learning rates; at the best it runs with every seed. An interrupted experiment resumes where it stopped.
// Writes NAME-SCALE.json (every run), .md (tables) and .svg (a plot).
import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { orUsageError, parseOptions } from './common/command-line.mjs'
import { formatDuration, lineChart } from './common/internals.mjs'
import { modelPath } from './common/model-path.mjs'
import { baseModel, emptyModel } from './paper/common/base-model.mjs'
import { experiments } from './paper/common/experiments.mjs'
import { filesOf } from './paper/common/files.mjs'

import { Record } from './paper/common/record.mjs'
import { failures, resultTable, seriesOf, sweepTable } from './paper/common/report.mjs'
import { sweep } from './paper/common/sweep.mjs'

const SCALES = ['small', 'real', 'paper']
const usage = `npm run paper -- all|NAME... [options]: the paper's experiments.

  NAME             ${Object.keys(experiments).join(', ')}
  --scale S        small (default), real or paper: of the models and the data
  --model M        the checkpoint, where the scale is not small; default the first .gguf of $MORA_TEST_ASSETS/models
  --data FOLDER    of the data, where the scale needs some
  --output FOLDER  default out/paper; an interrupted experiment goes on there
  --jobs N         runs beside each other; default one for each core at small, else 1
  --device D       cpu or cuda, where the scale is not small; default auto
  --dtype D        of the model, where the scale is not small; default auto`
const { names, options } = orUsageError(readOptions)
const say = (text) => process.stderr.write(`${text}\n`)
for (const name of names) await runExperiment(name, await experiments[name]())

function readOptions() {
  const { values, positionals } = parseOptions(usage, {
    scale: { type: 'string', default: 'small' },
    model: { type: 'string' },
    data: { type: 'string' },
    output: { type: 'string', default: join('out', 'paper') },
    jobs: { type: 'string' },
    device: { type: 'string', default: 'auto' },
    dtype: { type: 'string', default: 'auto' },
  })
  const known = Object.keys(experiments)
  const names = positionals.includes('all') ? known : positionals
  const unknown = names.find((name) => !known.includes(name))
  if (names.length === 0 || unknown)
    throw new Error(`Expected all or some of ${known.join(', ')} but received ${unknown ?? 'nothing'}.`)
  if (!SCALES.includes(values.scale))
    throw new Error(`Expected one of ${SCALES.join(', ')} for --scale but received ${values.scale}.`)
  // Small runs are too short to use several threads: one thread each, side by side. Others use the whole machine.
  const jobs = Number(values.jobs ?? (values.scale === 'small' ? availableParallelism() : 1))
  if (!Number.isInteger(jobs) || jobs < 1)
    throw new Error(`Expected a positive number for --jobs but received ${values.jobs}.`)
  return { names, options: { ...values, jobs } }
}

async function runExperiment(name, experiment) {
  const { scale, output, jobs } = options
  const settings = experiment.scales[scale]
  await mkdir(output, { recursive: true })
  const started = performance.now()
  say(`${experiment.title}, scale ${scale}`)
  const runs = experiment.runsOf ?? name
  const model = await modelOf(settings)
  const files = {}
  for (const seed of settings.seeds) {
    const folder = join(output, `${runs}-${scale}`, `seed-${seed}`)
    files[seed] = await filesOf(experiment, settings, { seed, folder, given: options.data })
  }
  const place = join(output, `${name}-${scale}`)
  const device = scale === 'small' ? 'cpu' : options.device
  const dtype = scale === 'small' ? 'float32' : options.dtype
  const head = { experiment: runs, scale, settings: { ...settings, contestants: undefined }, model, device, dtype }
  const record = new Record(join(output, `${runs}-${scale}.json`), head)
  const threads = Math.max(1, Math.floor(availableParallelism() / jobs))
  const results = await sweep({
    contestants: settings.contestants,
    seeds: settings.seeds,
    jobs,
    environment: ({ seed }) => ({ experiment: runs, scale, model, files: files[seed], device, dtype, threads }),
    score: experiment.score,
    record,
    say,
  })
  const total = (key) => record.cells.reduce((sum, { result }) => sum + result[key], 0) / 60
  const cost = `${record.cells.length} runs, ${total('processorSeconds').toFixed(1)} processor minutes`
  const report = reportOf(name, experiment, results, cost)
  await writeFile(`${place}.md`, report)
  await writeFile(`${place}.svg`, experiment.chart?.(results) ?? chartOf(experiment, results))
  process.stdout.write(`${report}\n`)
  say(`${place}.md and .svg; every run is in ${record.path}; ${formatDuration((performance.now() - started) / 1000)}`)
}

async function modelOf({ fromScratch }) {
  if (options.scale === 'small') {
    return fromScratch ? emptyModel(join(options.output, 'empty')) : baseModel(join(options.output, 'base'), say)
  }
  return modelPath(options.model)
}

function reportOf(name, experiment, results, cost) {
  const { scale } = options
  const diverged = failures(results)
  return [
    `# ${experiment.title}, scale ${scale}`,
    `The paper: ${experiment.claim}`,
    `Mean ± standard deviation over seeds at each method's best learning rate:`,
    resultTable(results, experiment),
    `The sweep, ${experiment.metrics[0].label} with the first seed:`,
    sweepTable(results, experiment),
    ...(diverged.length > 0 ? [`Runs that did not end:\n\n${diverged.join('\n')}`] : []),
    ...(experiment.remarks?.(results) ?? []),
    `\`npm run paper -- ${name} --scale ${scale}\`: ${cost}.`,
  ].join('\n\n')
}

function chartOf(experiment, results) {
  const series = seriesOf(results, experiment)
  const [metric] = experiment.metrics
  return lineChart({ title: experiment.title, xLabel: 'optimizer step', yLabel: metric.label, series })
}
