// One case of the comparison: the same adapter, dtype and tokens on every side, steps taken in turn.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { adapterFolder, tokenFile } from './prepare.mjs'
import { TrainerProcess } from './trainer-process.mjs'

const ours = fileURLToPath(new URL('./ours.mjs', import.meta.url))
const pytorch = fileURLToPath(new URL('../pytorch/train.py', import.meta.url))
/** Freed blocks stay in the process instead of being faulted in again at every step. */
const tunedMalloc = { MALLOC_MMAP_MAX_: '0', MALLOC_TRIM_THRESHOLD_: '-1', MALLOC_TOP_PAD_: '67108864' }
const pytorchOperators = ['lora', 'rotation', 'sharing']

/** PyTorch's version, or null where the interpreter has none. */
export function pytorchVersion(python) {
  try {
    const code = 'import numpy, torch; print(torch.__version__)'
    return execFileSync(python, ['-c', code], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return null
  }
}

/**
 * Runs a case and resolves with each side's steps, memory and facts. The first step of each is not counted. Rounds end
 * at `options.steps`, or when `seconds` have gone.
 */
export async function contest({ options, folder, method, dtype, withPytorch, seconds }) {
  const shared = {
    model: join(folder, 'model'),
    adapter: adapterFolder(folder, method),
    tokens: tokenFile(folder),
    operator: method.name,
    dtype,
    rows: options.rows,
    length: options.length,
    threads: options.threads,
    learningRate: 2e-5,
  }
  const trainers = [new TrainerProcess('node-mora', process.execPath, [ours, JSON.stringify(shared)])]
  const notes = []
  try {
    await trainers[0].ready()
    if (withPytorch && pytorchOperators.includes(method.name)) {
      const environment = { PYTHONDONTWRITEBYTECODE: '1', ...(options.blas && { LD_LIBRARY_PATH: options.blas }) }
      for (const best of [false, true]) {
        const name = best ? 'PyTorch, best' : 'PyTorch'
        const command = [pytorch, JSON.stringify({ ...shared, best })]
        const trainer = new TrainerProcess(
          name,
          options.python,
          command,
          best ? { ...environment, ...tunedMalloc } : environment,
        )
        trainers.push(trainer)
        const facts = await trainer.ready()
        // Without a tuned BLAS only bfloat16 products are fast, and plain adapters are float32.
        if ((best && dtype === 'bfloat16') || facts.blas.some((path) => /openblas|mkl|blis/.test(path))) continue
        notes.push(
          `${name} was left out in ${dtype}: its float32 products would use the reference BLAS, dozens of times slower ` +
            'than a tuned one. Install one (apt-get install libopenblas0-openmp), or name its folder with --blas.',
        )
        await trainers.pop().stop()
      }
    }
    await takeRounds(trainers, options.steps, seconds)
    return { sides: trainers.map(resultOf), notes }
  } finally {
    for (const trainer of trainers) await trainer.stop()
  }
}

async function takeRounds(trainers, rounds, seconds) {
  const step = async (trainer) => {
    const { seconds: took, loss } = await trainer.step()
    process.stderr.write(`  ${trainer.name}: ${took.toFixed(2)} s, loss ${loss.toFixed(5)}\n`)
  }
  const start = performance.now()
  for (const trainer of trainers) await step(trainer)
  for (let round = 0; round < rounds; round++) {
    const afterThisRound = ((performance.now() - start) / 1000) * ((round + 2) / (round + 1))
    if (round > 0 && afterThisRound > seconds) break
    // Who goes first changes, so that nobody always follows the same neighbour.
    for (let i = 0; i < trainers.length; i++) await step(trainers[(round + i) % trainers.length])
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
