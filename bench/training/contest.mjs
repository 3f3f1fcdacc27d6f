// Contests: trainers of the same weights and tokens, each a process of its own, whose steps are taken in turn.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { adapterFolder, tokenFile } from './prepare.mjs'
import { TrainerProcess } from './trainer-process.mjs'

const ours = fileURLToPath(new URL('./ours.mjs', import.meta.url))
const pytorch = fileURLToPath(new URL('../pytorch/train.py', import.meta.url))
/** Freed blocks stay in the process instead of being faulted in again at every step. */
const tunedMalloc = { MALLOC_MMAP_MAX_: '0', MALLOC_TRIM_THRESHOLD_: '-1', MALLOC_TOP_PAD_: '67108864' }
/** Methods that bench/pytorch has. */
export const pytorchMethods = ['lora', 'rotation', 'sharing']

/** PyTorch's version, or null where the interpreter has none. */
export function pytorchVersion(python) {
  try {
    const code = 'import numpy, torch; print(torch.__version__)'
    return execFileSync(python, ['-c', code], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return null
  }
}

/** Our own methods, side by side: what one costs over another. */
export function ownContest({ options, folder, methods, dtype, seconds }) {
  const sides = methods.map((method) => ({ kind: 'ours', name: method.label, method }))
  return contest({ options, folder, dtype, sides, seconds })
}

/** One method of ours against PyTorch's in its best setting and, with `asItComes`, without any. */
export function pytorchContest({ options, folder, method, dtype, asItComes, seconds }) {
  const sides = [
    { kind: 'ours', name: 'node-mora', method },
    { kind: 'pytorch best', name: 'PyTorch, best', method },
  ]
  // Many times slower, so one counted step tells enough.
  if (asItComes) sides.push({ kind: 'pytorch', name: 'PyTorch', method, rounds: 1 })
  return contest({ options, folder, dtype, sides, seconds })
}

/** A few float32 steps of ours and of PyTorch on few tokens and large updates: they do the same arithmetic, or not. */
export function agreementContest({ options, folder, method }) {
  const sides = [
    { kind: 'ours', name: 'node-mora', method },
    { kind: 'pytorch best', name: 'PyTorch', method },
  ]
  const few = { ...options, rows: 1, length: Math.min(64, options.length), steps: 2, learningRate: 1e-3 }
  return contest({ options: few, folder, dtype: 'float32', sides, seconds: Number.POSITIVE_INFINITY })
}

/**
 * Resolves with each side's steps, memory and facts. The first step of each is not counted. Rounds end at
 * `options.steps`, or when `seconds` have gone.
 */
async function contest({ options, folder, dtype, sides, seconds }) {
  const trainers = []
  const notes = []
  try {
    for (const side of sides) {
      const trainer = startTrainer(side, { options, folder, dtype })
      trainers.push(trainer)
      const { blas } = await trainer.ready()
      const plainAdapters = side.kind === 'pytorch' // they are float32
      if (!blas || (dtype === 'bfloat16' && !plainAdapters) || blas.some((path) => /openblas|mkl|blis/.test(path)))
        continue
      notes.push(
        `${side.name} was left out in ${dtype}: its float32 products would use the reference BLAS, dozens of times ` +
          'slower than a tuned one. Install one (apt-get install libopenblas0-openmp), or name its folder with --blas.',
      )
      await trainers.pop().stop()
    }
    await takeRounds(trainers, options.steps, seconds)
    return { dtype, sides: trainers.map(resultOf), notes }
  } finally {
    for (const trainer of trainers) await trainer.stop()
  }
}

function startTrainer({ kind, name, method, rounds = Number.POSITIVE_INFINITY }, { options, folder, dtype }) {
  const best = kind === 'pytorch best'
  const task = {
    model: join(folder, 'model'),
    adapter: adapterFolder(folder, method),
    tokens: tokenFile(folder),
    operator: method.name,
    dtype,
    rows: options.rows,
    length: options.length,
    threads: options.threads,
    learningRate: options.learningRate ?? 2e-5,
    best,
  }
  const start = () => {
    if (kind === 'ours') return new TrainerProcess(name, process.execPath, [ours, JSON.stringify(task)])
    return new TrainerProcess(name, options.python, [pytorch, JSON.stringify(task)], {
      PYTHONDONTWRITEBYTECODE: '1',
      ...(options.blas && { LD_LIBRARY_PATH: options.blas }),
      ...(best && tunedMalloc),
    })
  }
  return Object.assign(start(), { rounds })
}

async function takeRounds(trainers, rounds, seconds) {
  const step = async (trainer) => {
    const { seconds: took, loss } = await trainer.step()
    process.stderr.write(`  ${trainer.name}: ${took.toFixed(2)} s, loss ${loss.toFixed(5)}\n`)
    return took
  }
  const start = performance.now()
  for (const trainer of trainers) await step(trainer)
  for (let round = 0; round < rounds; round++) {
    const taking = trainers.filter((trainer) => round < trainer.rounds)
    const needed = taking.reduce((sum, { steps }) => sum + steps.at(-1).seconds, 0)
    if (round > 0 && (performance.now() - start) / 1000 + needed > seconds) break
    // Who goes first changes, so that nobody always follows the same neighbour.
    for (let i = 0; i < taking.length; i++) await step(taking[(round + i) % taking.length])
  }
}

function resultOf(trainer) {
  const times = trainer.steps.slice(1).map(({ seconds }) => seconds)
  return {
    name: trainer.name,
    facts: trainer.facts,
    losses: trainer.steps.map(({ loss }) => loss),
    gradNorms: trainer.steps.map(({ gradNorm }) => gradNorm),
    seconds: { median: median(times), least: Math.min(...times), most: Math.max(...times), all: times },
    cpuSeconds: median(trainer.steps.slice(1).map(({ cpuSeconds }) => cpuSeconds)),
    peakMemory: trainer.peakMemory(),
  }
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2
}
