// Contests: trainers of the same weights and tokens, each a process of its own, whose steps are taken in turn.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { lacksBlas, lacksBlasNote, pytorchProcess } from '../common/pytorch.mjs'
import { SideProcess } from '../common/side-process.mjs'
import { median, spread } from '../common/turns.mjs'
import { adapterFolder, tokenFile } from './prepare.mjs'

const ours = fileURLToPath(new URL('./ours.mjs', import.meta.url))

/** Our own methods, side by side: the cost of one over another. */
export function ownContest({ options, folder, methods, dtype, seconds }) {
  const sides = methods.map((method) => ({ kind: 'ours', name: method.label, method }))
  return contest({ options, folder, dtype, sides, seconds })
}

/** One method of ours against one of `sidesAgainst`: more trainers at once may need more memory than there is. */
export function pairContest({ options, folder, method, dtype, side, seconds }) {
  return contest({ options, folder, dtype, sides: [own(method), side], seconds })
}

const own = (method) => ({ kind: 'ours', name: 'node-mora', method })

/**
 * PyTorch in its best setting, and transformers with PEFT where the interpreter has both; these also compiled if
 * `options.compileMinutes` allow it; and, with `asItComes`, PyTorch with default settings.
 */
export function sidesAgainst(options, method, asItComes = false) {
  const compiles = options.compileMinutes > 0
  const sides = [{ kind: 'pytorch best', name: 'PyTorch, best', method }]
  if (compiles) sides.push({ kind: 'pytorch best', compiled: true, name: 'PyTorch, compiled', method })
  if (options.peft && method.name === 'lora') {
    sides.push({ kind: 'peft', name: 'PEFT, best', method })
    if (compiles) sides.push({ kind: 'peft', compiled: true, name: 'PEFT, compiled', method })
  }
  // Many times slower, so one counted step tells enough.
  if (asItComes) sides.push({ kind: 'pytorch', name: 'PyTorch', method, rounds: 1 })
  return sides
}

/**
 * A few float32 steps of ours and of PyTorch on few tokens with large updates, which show whether both do the same arithmetic.
 */
export function agreementContest({ options, folder, method }) {
  const sides = [own(method), { kind: 'pytorch best', name: 'PyTorch', method }]
  const few = { ...options, rows: 1, length: Math.min(64, options.length), rounds: 2, learningRate: 1e-3 }
  return contest({ options: few, folder, dtype: 'float32', sides, seconds: Number.POSITIVE_INFINITY })
}

/**
 * Resolves with each side's steps, memory and facts, and the seconds of all steps; with no sides if one of them cannot take
 * part, which a note says. The first step of each is not counted. Rounds end at `options.rounds`, or when `seconds` have gone.
 */
async function contest({ options, folder, dtype, sides, seconds }) {
  const trainers = []
  try {
    for (const side of sides) {
      const trainer = startTrainer(side, { options, folder, dtype })
      trainers.push(trainer)
      const facts = side.compiled ? await compiled(trainer, options) : await trainer.ready()
      if (!facts) return { sides: [], notes: [notCompiled(side.name, dtype, side.method, options)], seconds: 0 }
      const plainAdapters = side.kind === 'pytorch' // they are float32
      if ((dtype === 'float32' || plainAdapters) && lacksBlas(facts))
        return { sides: [], notes: [lacksBlasNote(side.name, dtype)], seconds: 0 }
    }
    const start = performance.now()
    await takeRounds(trainers, options.rounds, seconds)
    return { dtype, sides: trainers.map(resultOf), notes: [], seconds: (performance.now() - start) / 1000 }
  } finally {
    for (const trainer of trainers) await trainer.stop()
  }
}

/** The trainer's answer once it has compiled its step; null if it cannot, or takes too long. */
async function compiled(trainer, { compileMinutes }) {
  process.stderr.write('  PyTorch compiles …\n')
  return await trainer.ready(60 * compileMinutes).catch(() => null)
}

const notCompiled = (name, dtype, method, { compileMinutes }) =>
  `${name}: PyTorch did not compile ${method.label} in ${dtype} within ${compileMinutes} minutes; it needs g++ and headers ` +
  '(libtorch-dev, libsleef-dev and python3-dev of Debian).'

function startTrainer(side, { options, folder, dtype }) {
  const { kind, name, rounds = Number.POSITIVE_INFINITY } = side
  const task = taskOf(side, { options, folder, dtype })
  const trainer =
    kind === 'ours'
      ? new SideProcess(name, process.execPath, [ours, JSON.stringify(task)])
      : pytorchProcess(name, 'train.py', task, options, task.best)
  return Object.assign(trainer, { rounds, steps: [] })
}

/** The settings of a side. */
export function taskOf({ kind, compiled = false, method }, { options, folder, dtype }) {
  return {
    model: join(folder, 'model'),
    adapter: adapterFolder(folder, method),
    tokens: tokenFile(folder),
    operator: method.name,
    dtype,
    rows: options.rows,
    length: options.length,
    threads: options.threads,
    learningRate: options.learningRate ?? 2e-5,
    best: kind !== 'pytorch',
    ...(kind === 'peft' && { library: 'peft' }),
    ...(compiled && { compile: join(folder, kind === 'peft' ? 'compiled-peft' : 'compiled') }),
  }
}

async function takeRounds(trainers, rounds, seconds) {
  const step = async (trainer) => {
    const values = await trainer.ask({ task: 'step' })
    trainer.steps.push(values)
    process.stderr.write(`  ${trainer.name}: ${values.seconds.toFixed(2)} s, loss ${values.loss.toFixed(5)}\n`)
  }
  const start = performance.now()
  for (const trainer of trainers) await step(trainer)
  for (let round = 0; round < rounds; round++) {
    const taking = trainers.filter((trainer) => round < trainer.rounds)
    const needed = taking.reduce((sum, { steps }) => sum + steps.at(-1).seconds, 0)
    if (round > 0 && (performance.now() - start) / 1000 + needed > seconds) break
    // The first side rotates, so that no side always follows the same neighbour.
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
    seconds: spread(times),
    cpuSeconds: median(trainer.steps.slice(1).map(({ cpuSeconds }) => cpuSeconds)),
    peakMemory: trainer.peakMemory(),
  }
}
