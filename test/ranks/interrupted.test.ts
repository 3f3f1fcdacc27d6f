/** Signals to a launcher or to one rank, in the middle of a step. */
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { drawnTests } from '../drawn.js'
import { hiddenIn, main, resultOf, trainInto } from '../faults/command.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { collected, type Launcher, lacksLauncher, launchers, openMpiOf, runJob } from './launchers.js'

const folder = useTemporaryFolder()
const isLong = Boolean(process.env.MORA_TEST_LONG)
const [openMpi, mpich, gloo] = launchers as readonly [Launcher, Launcher, Launcher]

/**
 * Open MPI's mpirun waits half a second before it kills: its steps take longer. Other launchers pass the signal on, and wait.
 */
const argvFor = (launcher: Launcher, output: string, ...more: string[]) => {
  const batchSize = launcher === mpich || launcher === gloo ? '1200' : '2400'
  return [main, ...trainInto(output, '--max-steps', '4', '--batch-size', batchSize, '--dtype', 'float32', ...more)]
}

const metrics = (output: string) => {
  const file = join(output, 'metrics.jsonl')
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []
}

/** Two ranks whose launcher gets a signal in their third step: its exit code, and what was printed. */
async function interrupted(launcher: Launcher, signal: NodeJS.Signals, output: string) {
  const [child] = await launcher.start(2, argvFor(launcher, output))
  let stderr = ''
  child!.stderr!.on('data', (text) => {
    stderr += text
  })
  await expect.poll(() => metrics(output).length, { timeout: 60_000 }).toBe(2)
  const closed = once(child!, 'close')
  child!.kill(signal)
  const [code] = await closed
  return { code, stderr }
}

const some = (...signals: NodeJS.Signals[]) => (isLong ? signals : signals.slice(0, 1))
/** Steps long enough to be interrupted take most of the time. */
const next = drawnTests('jobs that get a signal', 5, 2)

next(lacksLauncher(openMpi)).describe('mpirun of Open MPI', () => {
  test.each(some('SIGTERM', 'SIGINT'))('kills at %s, and the run resumes from its last step', async (signal) => {
    const [whole, output] = [join(folder(), 'whole'), join(folder(), 'out')]
    await interrupted(openMpi, signal, output)
    const saved = readdirSync(join(output, 'checkpoints')).filter((name) => !name.startsWith('.'))
    expect(saved).toEqual([expect.stringMatching(/^step-00000[23]$/)])
    for (const [place, more] of [[whole], [output, '--resume']] as const) {
      const { code, stderr } = await runJob(openMpi, 2, argvFor(openMpi, place, ...(more ? [more] : [])))
      expect(code, stderr).toBe(0)
    }
    expect(resultOf(output)).toEqual(resultOf(whole))
    expect(hiddenIn(output)).toEqual([])
  })
})

/** The script that docs/scale.md puts between a platform and mpirun. */
const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'scale.md'), 'utf8')
const [lines] = /^ *trap .*\n.*exit \$code$/m.exec(page)!

describe.each([
  { launcher: openMpi, given: some('SIGUSR2') },
  { launcher: openMpiOf(lines), given: some('SIGTERM', 'SIGINT') },
  { launcher: mpich, given: some('SIGTERM', 'SIGINT') },
])('$launcher.name', ({ launcher, given }) => {
  next(lacksLauncher(launcher)).test.each(given)('at %s all save once and end with 130', async (signal) => {
    const output = join(folder(), 'out')
    const { code, stderr } = await interrupted(launcher, signal, output)
    expect(code, stderr).toBe(130)
    const name = `step-00000${metrics(output).length}`
    expect(readdirSync(join(output, 'checkpoints'))).toEqual([name])
    expect(readdirSync(join(output, 'checkpoints', name))).not.toContain('by-time')
    expect(stderr.match(/saved .*step-/g)).toHaveLength(1)
    expect(hiddenIn(output)).toEqual([])
  })
})

next(lacksLauncher(gloo)).describe('of ranks that nothing launched', () => {
  const cases = [1, 0].flatMap((rank) => some('SIGTERM', 'SIGINT').map((signal) => ({ rank, signal })))
  test.each(isLong ? cases : cases.slice(0, 1))('rank $rank at $signal stops all', async ({ rank, signal }) => {
    const output = join(folder(), 'out')
    const children = await gloo.start(2, argvFor(gloo, output))
    const ended = collected(children)
    await expect.poll(() => metrics(output).length, { timeout: 60_000 }).toBe(2)
    children[rank]!.kill(signal)
    const { codes, stderr } = await ended
    expect(codes, stderr).toEqual([130, 130])
    expect(readdirSync(join(output, 'checkpoints'))).toEqual([`step-00000${metrics(output).length}`])
    expect(stderr.match(/saved .*step-/g)).toHaveLength(1)
    expect(hiddenIn(output)).toEqual([])
  })
})
