/** Runs every contestant at each of its learning rates with the first seed, then at the best one with the other seeds. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const CELL = fileURLToPath(new URL('cell.mjs', import.meta.url))

/**
 * `environment` holds further settings of every cell; `score` turns a result into a number, higher being better. Resolves with
 * the cells of the sweep and those at the best rate, by contestant.
 */
export async function sweep({ contestants, seeds, jobs, environment, score, record, say }) {
  const first = contestants.flatMap((contestant) =>
    contestant.learningRates.map((learningRate) => cellOf(contestant, learningRate, seeds[0])),
  )
  const progress = {
    done: 0,
    total: first.length + contestants.length * (seeds.length - 1),
    started: performance.now(),
  }
  const runAll = (cells) => inParallel(cells, jobs, (cell) => runCell(cell, { environment, record, say, progress }))
  await runAll(first)
  const best = contestants.map((contestant) => bestRate(contestant, seeds[0], record, score))
  await runAll(
    contestants.flatMap((contestant, i) =>
      best[i] === null ? [] : seeds.slice(1).map((seed) => cellOf(contestant, best[i], seed)),
    ),
  )
  return contestants.map((contestant, i) => ({
    contestant,
    learningRate: best[i],
    swept: contestant.learningRates.map((rate) => record.find(cellOf(contestant, rate, seeds[0]))),
    repeated: best[i] === null ? [] : seeds.map((seed) => record.find(cellOf(contestant, best[i], seed))),
  }))
}

const cellOf = ({ name, options }, learningRate, seed) => ({ contestant: { name, options }, learningRate, seed })

function bestRate(contestant, seed, record, score) {
  const scored = contestant.learningRates.flatMap((rate) => {
    const { result } = record.find(cellOf(contestant, rate, seed))
    return result.failure ? [] : [{ rate, value: score(result) }]
  })
  return scored.reduce((best, one) => (best === null || one.value > best.value ? one : best), null)?.rate ?? null
}

async function inParallel(items, jobs, work) {
  const queue = [...items]
  const worker = async () => {
    for (let item = queue.shift(); item; item = queue.shift()) await work(item)
  }
  await Promise.all(Array.from({ length: jobs }, worker))
}

async function runCell(cell, { environment, record, say, progress }) {
  if (!record.find(cell)) record.add(cell, await inProcess({ ...environment(cell), ...cell }))
  progress.done++
  const { failure, points, seconds } = record.find(cell).result
  const minutes = (performance.now() - progress.started) / 60_000
  const left = (minutes / progress.done) * (progress.total - progress.done)
  const { step: _, ...last } = points.at(-1) ?? {}
  const outcome =
    failure ??
    Object.entries(last)
      .map(([name, value]) => `${name} ${value.toPrecision(4)}`)
      .join(', ')
  say(
    `${progress.done}/${progress.total} ${cell.contestant.name} at ${cell.learningRate}, seed ${cell.seed}: ${outcome} ` +
      `(${seconds.toFixed(0)} s; ${left.toFixed(0)} min left)`,
  )
}

/** A cell that crashes ends the comparison, unlike one that diverges. */
function inProcess(cell) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CELL, JSON.stringify(cell)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
    })
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(text))
      else reject(new Error(`${cell.contestant.name} at ${cell.learningRate} ended with code ${code}.`))
    })
  })
}
