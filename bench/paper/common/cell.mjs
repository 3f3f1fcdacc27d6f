// One run of a comparison, in a process of its own: reads its settings from the command line, prints its result as JSON.
//   node cell.mjs '{"experiment", "scale", "contestant", "learningRate", "seed", "folder", …}'
import { join } from 'node:path'
import { initModel, loadModel, loadTokenizer, train } from 'node-mora'
import { experiments } from './experiments.mjs'

const cell = JSON.parse(process.argv[2])
const experiment = await experiments[cell.experiment]()
const settings = experiment.scales[cell.scale]

process.stdout.write(JSON.stringify(await run()))

/** A run that diverges is a result too: it stays in the table. */
async function run() {
  const started = performance.now()
  const model = await openModel()
  const before = await experiment.before?.(model)
  const points = []
  const measure = async (step) => points.push({ step, ...(await experiment.measure(model, cell, settings)) })
  const training = train(model, {
    ...settings.training,
    ...cell.contestant.options,
    data: [cell.files.train],
    learningRate: cell.learningRate,
    seed: cell.seed,
  })
  /** @type {number | null} */
  let trainableParameters = null
  /** @type {string | null} */
  let failure = null
  try {
    for await (const event of training) {
      if (event.type === 'step' && settings.measureAt.includes(event.step)) await measure(event.step)
      if (event.type === 'end') trainableParameters = event.trainableParameters
    }
    if (points.at(-1)?.step !== settings.training.maxSteps) await measure(settings.training.maxSteps)
  } catch (error) {
    failure = error.message
  }
  const { metrics, ...afterwards } = (!failure && (await experiment.afterwards?.(model, before))) || {}
  Object.assign(points.at(-1) ?? {}, metrics)
  return {
    points,
    trainableParameters,
    failure,
    ...afterwards,
    seconds: (performance.now() - started) / 1000,
    processorSeconds: processorSeconds(),
  }
}

async function openModel() {
  const options = { device: cell.device, dtype: cell.dtype, threads: cell.threads }
  if (!settings.fromScratch) return loadModel(cell.model, options)
  const tokenizer = await loadTokenizer(cell.model)
  return initModel(join(cell.model, 'config.json'), { ...options, seed: cell.seed, tokenizer })
}

/** CPU seconds of all threads: a run's cost whatever else the machine does. */
function processorSeconds() {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
