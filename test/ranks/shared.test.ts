/** Processes of one machine that share the memory of a base: their memory, and the remains of a killed one. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { drawn } from '../drawn.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lack, lacksCpu, needing } from '../needs.js'
import { deepModel } from './deep-model.js'
import { byHand, lacksLauncher, runJob } from './launchers.js'

const folder = useTemporaryFolder()
const job = join(import.meta.dirname, 'job.mjs')
const launcher = byHand('gloo', '127.0.0.1')

const seen = () =>
  readdirSync(folder())
    .filter((name) => /^\d+\.json$/.test(name))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(folder(), name), 'utf8')))

/** Starts a command in another PID namespace, as in another container. */
const otherNumbers = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']
const lacksOtherNumbers = lack('unshare', spawnSync('unshare', [...otherNumbers.slice(1), 'true']).status === 0)

/** A base of 100 MB, beside which a process's own memory is little. */
const made = () => deepModel(folder(), 1, { hidden_size: 512, intermediate_size: 2048 })

needing(lacksLauncher(launcher), lacksCpu).describe('ranks of one machine', () => {
  test.each(drawn('processes that share memory', [2, 3], 1))(
    '%i processes have a base in memory once',
    async (size) => {
      const { path, rows, bytesOfBase } = await made()
      const ending = await runJob(launcher, size, [job, folder(), 'shared', '30', path, rows])
      expect(ending).toMatchObject({ code: 0, stderr: '' })
      const all = seen()
      expect(all.map(({ isShared }) => isShared)).toEqual(Array(size).fill(true))
      const sumOf = (name: 'all' | 'shared' | 'copied') => all.reduce((sum, one) => sum + one[name], 0)
      expect(Math.abs(sumOf('shared') / bytesOfBase - 1)).toBeLessThan(0.01)
      expect(sumOf('copied')).toBe(0)
      // Plus each process's own memory: modules, the adapter, activations.
      expect(sumOf('all')).toBeLessThan(bytesOfBase + size * 48 * 2 ** 20)
    },
  )

  test('leave nothing behind when one is killed', async () => {
    const { path, rows } = await deepModel(folder(), 1)
    const { code } = await runJob(launcher, 3, [job, folder(), 'shared', '3', path, rows, '2'])
    expect(code).not.toBe(0)
    const message = expect.stringMatching(/^Rank 2 failed: /)
    // Unnamed memory is freed with its processes.
    for (const one of seen()) expect(one).toMatchObject({ isShared: true, named: [], code: 'rank-failed', message })
    expect(seen()).toHaveLength(2)
    const started = readFileSync(join(folder(), 'pids'), 'utf8').trim().split('\n')
    const running = () => started.filter((pid) => existsSync(`/proc/${pid}`))
    await expect.poll(running, { timeout: 10_000 }).toEqual([])
  })

  needing(lacksOtherNumbers).test('have a copy each where one does not see the processes of the others', async () => {
    const { path, rows } = await deepModel(folder(), 1)
    const argv = (more: string[]) => [job, folder(), 'shared', '30', path, rows, ...more]
    expect(await runJob(launcher, 2, argv([]))).toMatchObject({ code: 0, stderr: '' })
    const shared = seen()
    const apart = byHand('gloo', '127.0.0.1', (rank) => (rank === 0 ? [] : otherNumbers))
    const { code, stderr } = await runJob(apart, 2, argv([]))
    expect(code).toBe(0)
    expect(stderr).toMatch(/Ranks of a machine do not share the memory of the base, since rank \d cannot share memory/)
    const copied = seen()
    expect([...shared, ...copied].map(({ isShared }) => isShared)).toEqual([true, true, false, false])
    expect(copied.map(({ losses }) => losses)).toEqual(shared.map(({ losses }) => losses))
    expect(copied[0].losses).toHaveLength(3)
  })
})
