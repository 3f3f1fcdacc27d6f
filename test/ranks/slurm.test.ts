/** Ranks that Slurm's srun starts, by PMIx and without; in `npm run test:long`, where Slurm is installed. */
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect } from 'vitest'
import { hiddenIn, main, resultOf, start, trainInto } from '../faults/command.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, lacksLong, needing } from '../needs.js'
import { lacksGloo, lacksLauncher, launchers, runJob } from './launchers.js'
import { lacksSlurm, Slurm } from './slurm.js'

const folder = useTemporaryFolder()

const environment = { MORA_JOB_SECRET: 'one that all ranks of the job know' }

needing(lacksLong ?? lacksSlurm(), lacksBuild).describe('by srun', { timeout: 600_000 }, () => {
  let slurm: Slurm
  beforeAll(async () => {
    slurm = await Slurm.start()
  })
  afterAll(() => slurm?.[Symbol.asyncDispose]())

  const kinds = [
    { mpi: 'pmix', lacks: lacksLauncher(launchers[0]!) },
    { mpi: 'none', lacks: lacksGloo },
  ] as const
  for (const { mpi, lacks } of kinds)
    needing(lacks).test(`--mpi=${mpi}, two ranks train as one process does`, async () => {
      const [alone, together] = [join(folder(), 'alone'), join(folder(), 'together')]
      const argvFor = (output: string) => trainInto(output, '--dtype', 'float32', '--quiet')
      expect(await start(argvFor(alone)).ended).toMatchObject({ code: 0, stderr: '' })
      const ending = await runJob(slurm.launcher(mpi, environment), 2, [main, ...argvFor(together)])
      expect(ending).toMatchObject({ code: 0, stderr: '' })
      const [one, many] = [resultOf(alone).steps, resultOf(together).steps]
      expect(many).toHaveLength(8)
      for (const [i, [step, loss]] of many.entries()) {
        expect(step).toBe(i + 1)
        expect(Math.abs(loss! / one[i]![1]! - 1)).toBeLessThan(1e-6)
      }
    })

  needing(lacksLauncher(launchers[0]!)).test('a job that is cancelled saves once, and ends with 130', async () => {
    const output = join(folder(), 'out')
    const argv = [main, ...trainInto(output, '--max-steps', '100000')]
    const [child] = await slurm.launcher('pmix').start(2, argv)
    const exit = once(child!, 'exit')
    await expect.poll(() => existsSync(join(output, 'metrics.jsonl')), { timeout: 60_000 }).toBe(true)
    slurm.run('scancel', slurm.run('squeue', '-h', '-o', '%i').trim())
    expect(await exit).toEqual([130, null])
    const name = `step-${String(resultOf(output).steps.length).padStart(6, '0')}`
    expect(readdirSync(join(output, 'checkpoints'))).toEqual([name])
    expect(readFileSync(join(output, 'run.yaml'), 'utf8')).toMatch(/ranks: 2/)
    expect(hiddenIn(output)).toEqual([])
  })
})
