/** A process that runs cells of a comparison one after another, as messages ask for them. */
import { evaluate, initModel, loadModel, loadTokenizer, train } from 'node-mora'
import { planOf } from './plan.mjs'
import { mean } from './report.mjs'
import { linearWeights, spectraOfChange } from './spectra.mjs'

process.on('message', async ({ kind, cell }) => {
  try {
    const plan = planOf(cell.experiment, cell.scale, cell).find(({ part }) => part === cell.part)
    process.send?.({ result: await { run, probe }[kind](cell, plan) })
  } catch (error) {
    process.send?.({ error: process.env.MORA_DEBUG ? error.stack : error.message })
  }
})

/**
 * Opens everything that the plan needs: the model, the rows of training under the options of each contestant, and one row of each
 * task. Whatever does not fit is found before anything is trained.
 */
async function probe(cell, plan) {
  const model = await openModel(cell)
  await measure(model, cell, plan, 1)
  // Full training changes the model for good, so it comes last.
  const isFull = ({ options }) => options.method === 'full'
  const contestants = [...plan.contestants].sort((a, b) => Number(isFull(a)) - Number(isFull(b)))
  for (const { options, variants } of contestants) {
    for (const variant of variants) {
      const run = startTraining(model, cell, plan, { ...options, ...variant.options })
      try {
        await run.started
      } finally {
        await run.stop()
      }
      for (const name of [...model.adapters.keys()]) model.removeAdapter(name)
    }
  }
  model.dispose()
}

/** A run that diverges is a result too: it stays in the table. */
async function run(cell, plan) {
  const [started, before] = [performance.now(), process.cpuUsage()]
  const model = await openModel(cell)
  const weights = plan.keepsSpectra && (await linearWeights(model))
  const points = []
  let step = 0
  /** @type {number | null} */
  let trainableParameters = null
  /** @type {string | null} */
  let failure = null
  /** @type {Awaited<ReturnType<typeof spectraOfChange>> | null} */
  let spectra = null
  try {
    for await (const event of startTraining(model, cell, plan, cell.contestant.options)) {
      if (event.type === 'step') step = event.step
      if (event.type === 'step' && plan.measureAt.includes(step))
        points.push({ step, ...(await measure(model, cell, plan)) })
      if (event.type === 'end') trainableParameters = event.trainableParameters
    }
    if (points.at(-1)?.step !== step) points.push({ step, ...(await measure(model, cell, plan)) })
    if (weights) spectra = await spectraOfChange(model, weights)
  } catch (error) {
    if (error.code !== 'non-finite') throw error
    failure = error.message
  }
  model.dispose()
  const { user, system } = process.cpuUsage(before)
  return {
    points,
    ...(spectra && { spectra }),
    trainableParameters,
    failure,
    seconds: (performance.now() - started) / 1000,
    // Of all threads: a run's cost whatever else the machine does.
    processorSeconds: (user + system) / 1e6,
  }
}

function startTraining(model, { files, learningRate = 1e-4, seed, offline }, plan, options) {
  return train(model, { ...plan.training, ...options, data: files.trained, learningRate, seed, offline })
}

async function openModel({ model, config, device, dtype, threads, seed, offline }) {
  const options = { device, dtype, threads, offline }
  if (!config) return loadModel(model, options)
  const tokenizer = await loadTokenizer(model, { offline })
  return initModel(config, { ...options, seed, tokenizer })
}

/** Returns everything that the tasks measure, by name, on no more than `most` rows each. */
async function measure(model, { files, offline }, { tasks, average }, most) {
  const values = {}
  for (const [i, { options, limit = most, measures }] of tasks.entries()) {
    const rows = most === undefined ? limit : Math.min(most, limit)
    const result = await evaluate(model, {
      ...options,
      data: files.asked[i],
      offline,
      ...(rows !== undefined && { limit: rows }),
      ...(files.shots[i] && { shotsData: files.shots[i] }),
    })
    for (const { name, value } of measures) {
      if (typeof result[value] !== 'number') throw new Error(`${options.task} does not measure ${value}.`)
      values[name] = result[value]
    }
  }
  return average ? { [average.name]: mean(Object.values(values)), ...values } : values
}
