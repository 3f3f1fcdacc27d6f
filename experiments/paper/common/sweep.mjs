/** Runs every contestant with each variant at each learning rate with the first seed, then the best one with the other seeds. */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { mean, metricsOf } from './report.mjs'

const WORKER = fileURLToPath(new URL('worker.mjs', import.meta.url))

/** Processes that run cells, one at a time each. A cell that crashes ends the comparison, unlike one that diverges. */
export class Workers {
  #count
  #children = []

  constructor(count) {
    this.#count = count
  }

  /** Calls `work(item, ask)` for all items; `ask({ kind, cell })` resolves with a worker's answer. */
  async forAll(items, work) {
    const queue = [...items]
    const run = async (child) => {
      for (let item = queue.shift(); item; item = queue.shift()) await work(item, (message) => ask(child, message))
    }
    while (this.#children.length < Math.min(this.#count, queue.length)) this.#children.push(fork(WORKER))
    await Promise.all(this.#children.map(run))
  }

  end() {
    for (const child of this.#children) child.kill()
    this.#children = []
  }
}

function ask(child, message) {
  return new Promise((resolve, reject) => {
    const onExit = (code, signal) => reject(new Error(`A run ended with ${signal ?? `code ${code}`}.`))
    child.once('exit', onExit)
    child.once('message', ({ result, error }) => {
      child.off('exit', onExit)
      if (error) reject(new Error(error))
      else resolve(result)
    })
    child.send(message)
  })
}

/**
 * `cellOf` completes what a worker needs to know of a run. Resolves with the cells of the sweep and those of the best trial, by contestant.
 */
export async function sweep({ plan, workers, cellOf, record, say }) {
  const { contestants, seeds, part } = plan
  const trials = new Map(
    contestants.map((contestant) => [
      contestant,
      contestant.variants.flatMap(({ label, options }) =>
        contestant.learningRates.map((learningRate) => ({
          part,
          contestant: { name: contestant.name, label, options: { ...contestant.options, ...options } },
          learningRate,
        })),
      ),
    ]),
  )
  const first = [...trials.values()].flat().map((trial) => ({ ...trial, seed: seeds[0] }))
  const progress = {
    done: 0,
    total: first.length + contestants.length * (seeds.length - 1),
    started: performance.now(),
  }
  const runAll = (cells) => workers.forAll(cells, (cell, ask) => runCell(cell, { ask, cellOf, record, say, progress }))
  await runAll(first)
  const best = contestants.map((contestant) => bestOf(trials.get(contestant), seeds[0], record, plan))
  const repeatedOf = (trial) => (trial ? seeds.map((seed) => ({ ...trial, seed })) : [])
  await runAll(best.flatMap((trial) => repeatedOf(trial).slice(1)))
  return contestants.map((contestant, i) => ({
    contestant,
    best: best[i],
    swept: trials.get(contestant).map((trial) => record.find({ ...trial, seed: seeds[0] })),
    repeated: repeatedOf(best[i]).map((cell) => record.find(cell)),
  }))
}

function bestOf(trials, seed, record, plan) {
  const scored = trials.flatMap((trial) => {
    const { result } = record.find({ ...trial, seed })
    return result.failure ? [] : [{ trial, value: scoreOf(result, plan) }]
  })
  return scored.reduce((best, one) => (best === null || one.value > best.value ? one : best), null)?.trial ?? null
}

/** The first metric after the run, or, if it says how fast something is learnt, the mean of its points. */
function scoreOf({ points }, plan) {
  const [{ name, lowerIsBetter }] = metricsOf(plan)
  const judged = plan.judgedBy === 'mean of points' ? points : points.slice(-1)
  const value = mean(judged.map((point) => point[name]))
  return lowerIsBetter ? -value : value
}

async function runCell(cell, { ask, cellOf, record, say, progress }) {
  if (!record.find(cell)) record.add(cell, await ask({ kind: 'run', cell: cellOf(cell) }))
  progress.done++
  const { failure, points, seconds } = record.find(cell).result
  const minutes = (performance.now() - progress.started) / 60_000
  const left = (minutes / progress.done) * (progress.total - progress.done)
  const { step: _, ...last } = points.at(-1) ?? {}
  const outcome =
    failure ??
    Object.entries(last)
      .map(([name, value]) => `${name} ${value.toPrecision(4)}`)
      .join('; ')
  const { name, label } = cell.contestant
  say(
    `${progress.done}/${progress.total} ${[name, label].filter(Boolean).join(', ')} at ${cell.learningRate}, seed ${cell.seed}: ` +
      `${outcome} (${seconds.toFixed(0)} s; ${left.toFixed(0)} min left)`,
  )
}
