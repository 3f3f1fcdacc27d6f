// The experiments of the MoRA paper (arXiv 2405.12130): npm run paper -- --help. Each contestant is swept over its learning rates;
// at the best it runs with every seed. An interrupted experiment resumes where it stopped. Writes NAME-SCALE.json (every run), .md
// (tables) and .svg (a plot).
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { loadTokenizer } from 'node-mora'
import { orUsageError, parseOptions } from '../../bench/common/command-line.mjs'
import { formatDuration, lineChart } from '../../bench/common/internals.mjs'
import { baseModel, emptyModel, untrainedModel, writeConfig } from './common/base-model.mjs'
import { filesOf, missingSets, setsOf } from './common/files.mjs'
import { experiments, planOf, SCALES } from './common/plan.mjs'
import { Record } from './common/record.mjs'
import { failures, metricsOf, resultTable, seriesOf, spectraSeries, sweepTable } from './common/report.mjs'
import { sweep, Workers } from './common/sweep.mjs'

/** The models of the scales that do not make their own. */
const MODELS = { real: 'HuggingFaceTB/SmolLM2-135M-Instruct', paper: 'meta-llama/Llama-2-7b-hf' }
const usage = `npm run paper -- all|NAME... [options]: the paper's experiments.

  NAME             ${Object.keys(experiments).join(', ')}
  --scale S        small (default), real or paper: of the models and the data
  --tiny           on an untrained model and samples of the data, with few rows and steps: shows that everything runs
  --model M        the checkpoint, where the scale is not small; default ${MODELS.real}, ${MODELS.paper}
  --data FOLDER    data sets that are there already, as files or folders with these names:
                   ${namesOfSets()}
  --fetch          download from the Hugging Face hub what is missing
  --output FOLDER  default out/paper; an interrupted experiment goes on there
  --jobs N         runs beside each other; default one for each core at small, else 1
  --device D       cpu or cuda, where the scale is not small; default auto
  --dtype D        of the model, where the scale is not small; default auto`
const { names, all, options } = orUsageError(readOptions)
const say = (text) => process.stderr.write(`${text}\n`)
const lacking = []
for (const name of names) {
  const needs = await whatIsMissing(name)
  if (needs) lacking.push(needs)
  else await runExperiment(name).catch(fail)
}
for (const needs of lacking) say(needs)
// Experiments that were asked for by name and cannot run are an error; of all, those that can run do.
if (lacking.length > 0 && !all) process.exit(2)

function fail(error) {
  say(process.env.MORA_DEBUG ? error.stack : error.message)
  process.exit(1)
}

function namesOfSets() {
  const plans = Object.keys(experiments).flatMap((name) => SCALES.flatMap((scale) => planOf(name, scale)))
  const sets = plans.flatMap(setsOf).filter(({ id }) => id)
  return [...new Set(sets.map(({ name }) => name))].join(', ')
}

function readOptions() {
  const { values, positionals } = parseOptions(usage, {
    scale: { type: 'string', default: 'small' },
    tiny: { type: 'boolean', default: false },
    model: { type: 'string' },
    data: { type: 'string' },
    fetch: { type: 'boolean', default: false },
    output: { type: 'string', default: join('out', 'paper') },
    jobs: { type: 'string' },
    device: { type: 'string', default: 'auto' },
    dtype: { type: 'string', default: 'auto' },
  })
  const known = Object.keys(experiments)
  const all = positionals.includes('all')
  const names = all ? known : positionals
  const unknown = names.find((name) => !known.includes(name))
  if (names.length === 0 || unknown)
    throw new Error(`Expected all or some of ${known.join(', ')} but received ${unknown ?? 'nothing'}.`)
  if (!SCALES.includes(values.scale))
    throw new Error(`Expected one of ${SCALES.join(', ')} for --scale but received ${values.scale}.`)
  const isSmall = values.scale === 'small' || values.tiny
  // Small runs are too short to use several threads: one thread each, side by side. Others use the whole machine.
  const jobs = Number(values.jobs ?? (isSmall ? availableParallelism() : 1))
  if (!Number.isInteger(jobs) || jobs < 1)
    throw new Error(`Expected a positive number for --jobs but received ${values.jobs}.`)
  return { names, all, options: { ...values, jobs, isSmall, model: values.model ?? MODELS[values.scale] } }
}

/** Where the files of an experiment's parts are. */
function placeOf(name) {
  const { scale, output, data, fetch, tiny } = options
  return { data, fetch, tiny, folder: join(output, `${name}-${scale}`) }
}

/** Returns one sentence about the data and the model that are not here; undefined if everything is. */
async function whatIsMissing(name) {
  const { scale, model, isSmall } = options
  const runs = experiments[name].runsOf ?? name
  const sets = new Map()
  for (const plan of planOf(runs, scale, options))
    for (const [set, error] of await missingSets(plan, placeOf(runs), say)) sets.set(set, error)
  const needed = [...sets].map(
    ([{ id, licence }]) => `${[id].flat()[0]}${Array.isArray(id) ? ' and its like' : ''} (${licence})`,
  )
  if (!isSmall)
    await loadTokenizer(model, { offline: !options.fetch }).catch(() => needed.unshift(`the model ${model}`))
  if (needed.length === 0) return undefined
  const [failed] = options.fetch ? sets.values() : []
  const reason = failed ? `; ${failed.message}` : ''
  return `${name} at ${scale} needs ${needed.join(', ')}: npm run paper -- ${name} --scale ${scale} --fetch${reason}`
}

async function runExperiment(name) {
  const experiment = experiments[name]
  const { scale, output, jobs, tiny } = options
  const runs = experiment.runsOf ?? name
  const started = performance.now()
  say(`${experiment.title}, scale ${scale}`)
  const { parts, head } = await prepare(runs)
  const record = new Record(join(output, `${runs}-${scale}.json`), head)
  const written = join(output, `${name}-${scale}`)
  const sections = []
  const workers = new Workers(jobs)
  try {
    await workers.forAll(parts, ({ cellOf, plan }, ask) =>
      ask({ kind: 'probe', cell: cellOf({ seed: plan.seeds[0] }) }),
    )
    for (const [i, { plan, cellOf }] of parts.entries()) {
      const results = await sweep({ plan, workers, cellOf, record, say })
      sections.push(...sectionsOf(experiment, plan, results))
      await writeFile(`${written}${i > 0 ? `-${plan.part}` : ''}.svg`, chartOf(experiment, plan, results))
    }
  } finally {
    workers.end()
  }
  if (runs !== name) await copyFile(record.path, `${written}.json`)
  const minutes = record.cells.reduce((sum, { result }) => sum + result.processorSeconds, 0) / 60
  const report = [
    `# ${experiment.title}, scale ${scale}${tiny ? ', cut to almost nothing (--tiny)' : ''}`,
    `The paper: ${experiment.claim}`,
    ...sections,
    `\`npm run paper -- ${name} --scale ${scale}\`: ${record.cells.length} runs, ${minutes.toFixed(1)} processor minutes.`,
  ].join('\n\n')
  await writeFile(`${written}.md`, report)
  process.stdout.write(`${report}\n`)
  say(`${written}.md and .svg; every run is in ${record.path}; ${formatDuration((performance.now() - started) / 1000)}`)
}

/** Makes the model, configurations and rows of an experiment. `cellOf` completes what a worker needs to know of a part's run. */
async function prepare(name) {
  const { scale, jobs, tiny, isSmall, fetch } = options
  const place = placeOf(name)
  await mkdir(place.folder, { recursive: true })
  const plans = planOf(name, scale, options)
  const model = await modelOf(plans[0])
  const tokenizer = await loadTokenizer(model, { offline: !fetch })
  const [device, dtype] = isSmall ? ['cpu', 'float32'] : [options.device, options.dtype]
  const threads = Math.max(1, Math.floor(availableParallelism() / jobs))
  const parts = []
  for (const plan of plans) {
    const { part, seeds, init } = plan
    const path = join(place.folder, `config${part && `-${part}`}.json`)
    const config = init && (await writeConfig(path, init, tokenizer))
    const files = await Promise.all(seeds.map((seed) => filesOf(plan, seed, place)))
    const everywhere = { experiment: name, scale, tiny, part, offline: !fetch, model, config, device, dtype, threads }
    parts.push({ plan, cellOf: (trial) => ({ ...everywhere, files: files[seeds.indexOf(trial.seed)], ...trial }) })
  }
  const settings = plans.map(({ contestants: _, ...plan }) => plan)
  return { parts, head: { experiment: name, scale, settings, model, device, dtype } }
}

async function modelOf({ init }) {
  const { scale, output, tiny, model } = options
  if (tiny) return untrainedModel(join(output, 'tiny-model'))
  if (scale !== 'small') return model
  return init ? emptyModel(join(output, 'empty')) : baseModel(join(output, 'base'), say)
}

function sectionsOf(experiment, plan, results) {
  const [metric] = metricsOf(plan)
  const diverged = failures(results)
  return [
    ...(plan.part ? [`## ${plan.part}`] : []),
    `Mean ± standard deviation over seeds at each method's best settings:`,
    resultTable(results, experiment.shown ?? metricsOf(plan)),
    `The sweep, ${metric.name}, with the first seed:`,
    sweepTable(results, metric),
    ...(diverged.length > 0 ? [`Runs that did not end:\n\n${diverged.join('\n')}`] : []),
  ]
}

function chartOf({ title, shown }, plan, results) {
  if (shown)
    return lineChart({
      title,
      xLabel: 'singular value, from the largest',
      yLabel: 'mean over layers',
      series: spectraSeries(results),
      logarithmic: true,
    })
  const [metric] = metricsOf(plan)
  return lineChart({ title, xLabel: 'optimizer step', yLabel: metric.name, series: seriesOf(results, metric) })
}
