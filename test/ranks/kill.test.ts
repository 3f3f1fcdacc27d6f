/**
 * SIGKILL to a rank at a moment drawn from a seed, with one launcher: once, 50 times with all in `npm run test:long`.
 * MORA_TEST_SEED draws others.
 * The job ends, names the rank, and resumes to the same bits.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { drawn } from '../drawn.js'
import { hiddenIn, main, resultOf, trainInto } from '../faults/command.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { needing } from '../needs.js'
import { type JobEnding, type Launcher, lacksLauncher, launchers, runJob } from './launchers.js'

const folder = useTemporaryFolder()
const seed = Number(process.env.MORA_TEST_SEED ?? 1)
const isLong = Boolean(process.env.MORA_TEST_LONG)

const argvFor = (output: string) => [
  main,
  ...trainInto(output, '--max-steps', '24', '--save-every', '4', '--keep-checkpoints', '2', '--dtype', 'float32'),
  ...['--resume', '--rank-timeout', '10'],
]

/** Processes of a job, by their ranks. */
function ranksOf(job: string): Map<number, number> {
  const ranks = new Map<number, number>()
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
      const rank = /(?:^|\0)(?:OMPI_COMM_WORLD_RANK|PMI_RANK|RANK)=(\d+)\0/.exec(environment)?.[1]
      const isOurs = environment.includes(`MORA_TEST_JOB=${job}\0`)
      if (isOurs && rank !== undefined && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(main)) {
        ranks.set(Number(rank), Number(pid))
      }
    } catch {
      // it has ended
    }
  }
  return ranks
}

/**
 * Runs a job of which a rank is killed a number of milliseconds after the run has begun; returns whether the rank still ran.
 */
async function killed(launcher: Launcher, size: number, output: string, rank: number, after: number) {
  process.env.MORA_TEST_JOB = randomUUID()
  const job = process.env.MORA_TEST_JOB
  let ending: JobEnding | null = null
  const start = Date.now()
  // A killed rank 0 leaves a lock.
  const lock = join(output, '.lock')
  const hasBegun = () => (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? 0) >= start
  const ended = runJob(launcher, size, argvFor(output)).then((how) => {
    ending = how
    return how
  })
  while (!hasBegun() && !ending) await pause(20)
  await pause(after)
  const pid = ranksOf(job).get(rank)
  let died = false
  try {
    if (pid !== undefined) died = process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended
  }
  const { code, codes, stdout, stderr } = await ended
  await expect.poll(() => [...ranksOf(job)], { timeout: 10_000 }).toEqual([])
  // The others may have left before it was killed, if all work was done.
  const wasOver = !launcher.endsOthers && codes.every((own, of) => of === rank || own === 0)
  return { died: died && !wasOver, pid, code: wasOver ? 0 : code, told: stdout + stderr }
}

/**
 * The report of a rank's death, once, and the exit code. Open MPI does both itself, and some of its versions 4 say "PID 0". So
 * does MPICH, but if a process dies while MPICH talks to it, MPICH ends with 0 or with an error of its own: there only the
 * remaining files count.
 */
const ends: Record<string, { sentence: (rank: number, pid: number) => RegExp; code: number }> = {
  'Open MPI': {
    sentence: (rank, pid) =>
      new RegExp(`process rank ${rank} with PID (?:${pid}|0) on node \\S+ exited on\\s+signal 9`, 'g'),
    code: 128 + 9,
  },
  gloo: {
    sentence: (rank) => new RegExp(`^mora: Rank ${rank} failed: it has ended or has lost its connection`, 'gm'),
    code: 1,
  },
}

const jobs = [
  { launcher: launchers[0]!, size: 2, deaths: isLong ? 10 : 1 },
  { launcher: launchers[1]!, size: 2, deaths: isLong ? 10 : 1 },
  { launcher: launchers[2]!, size: 3, deaths: isLong ? 30 : 1 },
]
describe.each(drawn('launchers whose ranks are killed', jobs, 1))('$launcher.name', ({ launcher, size, deaths }) => {
  const title = `a rank is killed ${deaths} times, which changes nothing`
  needing(lacksLauncher(launcher)).test(title, { timeout: 1_800_000 }, async () => {
    const random = randomStream(seed, 'kill a rank', launcher.name)
    const [whole, output] = [join(folder(), 'whole'), join(folder(), 'out')]
    const start = Date.now()
    const undisturbed = await runJob(launcher, size, argvFor(whole))
    expect(undisturbed.code, undisturbed.stderr).toBe(0)
    // Node.js takes a good part of it to start.
    const longest = Math.round((Date.now() - start) / 2)
    const expected = resultOf(whole)
    for (let died = 0; died < deaths; ) {
      const rank = random.integer(size)
      const ending = await killed(launcher, size, output, rank, random.integer(longest))
      const how = ends[launcher.name]
      if (ending.died && (ending.code !== 0 || (!how && resultOf(output).adapter === null))) {
        died++
        if (!how) continue
        expect(ending.code, ending.told).toBe(how.code)
        expect(ending.told.match(how.sentence(rank, ending.pid!)) ?? [], ending.told).toHaveLength(1)
        continue
      }
      expect(ending.code, ending.told).toBe(0)
      expect(resultOf(output)).toEqual(expected)
      rmSync(output, { recursive: true })
    }
    const last = await runJob(launcher, size, argvFor(output))
    expect(last.code, last.stderr).toBe(0)
    expect(resultOf(output)).toEqual(expected)
    expect(hiddenIn(output)).toEqual([])
  })
})
