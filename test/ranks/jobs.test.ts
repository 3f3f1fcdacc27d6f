/**
 * Ranks that this machine's launchers start. `npm test` runs each check with one launcher, except sums;
 * `npm run test:long` runs all with all.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { drawn } from '../drawn.js'
import { main, start, trainInto } from '../faults/command.js'
import { readTensors } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksLong, needing } from '../needs.js'
import { deepModel } from './deep-model.js'
import { lacksLauncher, launchers, runJob } from './launchers.js'

const folder = useTemporaryFolder()
const job = join(import.meta.dirname, 'job.mjs')

const seen = () =>
  readdirSync(folder())
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(folder(), name), 'utf8')))

const running = () => {
  const started = readFileSync(join(folder(), 'pids'), 'utf8').trim().split('\n')
  return started.filter((pid) => existsSync(`/proc/${pid}`))
}

const faults = [
  { what: 'gaveUp', why: 'no more rows.' },
  { what: 'gone', why: 'it ended with exit code 3.' },
  { what: 'stopped', why: 'it has been silent for 1 s, so it was stopped, has ended or has lost its connection.' },
]

/** Makes each rank see a machine of its own. */
const ownHosts = { NODE_OPTIONS: `--import=${join(import.meta.dirname, 'own-host.mjs')}` }

const isLong = Boolean(process.env.MORA_TEST_LONG)

/** Jobs that take most of the time. */
const jobs = drawn('jobs that train', ['as one', 'however held', 'quantised', 'in thirds'] as const, 1)
/** Turns of the launchers whose jobs lose a rank. */
const losing = drawn('launchers whose jobs lose a rank', [0, 1, 2], 1)

describe.each(launchers.map((launcher, turn) => ({ name: launcher.name, launcher, turn })))(
  '$name',
  ({ launcher, turn }) => {
    const onTurn = (turnOfTest: number, isDrawn = true) => needing(turn === turnOfTest && isDrawn ? null : lacksLong)
    const itsTurn = <Case>(cases: readonly Case[]) => cases.filter((_, i) => isLong || i === turn % cases.length)

    needing(lacksLauncher(launcher)).describe('where it is installed', () => {
      test.each(itsTurn([2, 1, 4]))('%i ranks add up, send and gather', async (size) => {
        const ending = await runJob(launcher, size, [job, folder(), 'collectives'])
        expect(ending).toMatchObject({ code: 0, stderr: '' })
        const all = seen()
        const ranks = Array.from({ length: size }, (_, rank) => rank)
        const total = (size * (size - 1)) / 2
        expect(all.map(({ rank, localRank }) => [rank, localRank])).toEqual(ranks.map((rank) => [rank, rank]))
        for (const one of all) {
          expect([one.size, one.localSize]).toEqual([size, size])
          // Possibly all processors that Open MPI has bound it to.
          if (one.threads !== 0) expect(one.threads).toBe(Math.max(1, Math.floor(availableParallelism() / size)))
          if (!launcher.endsOthers) expect(one.threads).toBeGreaterThan(0)
          expect(one.sum.slice(0, 2)).toEqual([size, total])
          expect(one.sum[2]).toBeCloseTo(total / 3, 14)
          expect(one.farthest).toBeLessThan(size === 1 ? 1e-12 : size * 2 ** -23)
          expect(one.bytes).toEqual([size - 1, 7])
          expect(one.gathered).toEqual(ranks.map((rank) => [rank, 9]))
          expect(one.done).toEqual({ rewritten: 0, catchesFaults: false })
        }
        expect(new Set(all.flatMap(({ hash, tensors }) => [hash, tensors])).size).toBe(1)
      })

      onTurn(0, jobs.includes('as one')).test.each(itsTurn([2, 4]))(
        '%i ranks train as one process does',
        async (size) => {
          const alone = join(folder(), 'alone')
          const together = join(folder(), 'together')
          const [ofOne, ofMany] = [alone, together].map((output) =>
            trainInto(output, '--dtype', 'float32', '--max-steps', '50', '--quiet'),
          )
          expect(await start(ofOne!).ended).toMatchObject({ code: 0, stderr: '' })
          expect(await runJob(launcher, size, [main, ...ofMany!])).toMatchObject({ code: 0, stderr: '' })

          const [one, many] = [lossesOf(alone), lossesOf(together)]
          expect(many.length).toBe(50)
          for (const [i, loss] of many.entries()) expect(Math.abs(loss / one[i]! - 1)).toBeLessThan(1e-6)
          const trained = readTensors(join(together, 'adapter_model.safetensors'))
          let farthest = 0
          for (const [name, { values }] of readTensors(join(alone, 'adapter_model.safetensors'))) {
            const others = trained.get(name)!.values
            for (const [i, value] of values.entries()) farthest = Math.max(farthest, Math.abs(value - others[i]!))
          }
          expect(farthest).toBeLessThan(1e-6)
        },
      )

      onTurn(2, jobs.includes('however held')).test.each(itsTurn([3, 2]))(
        '%i ranks train one base to the same bits, however they hold it',
        async (size) => {
          const trained = async (name: string, shard: string[], variables = {}) => {
            const output = join(folder(), name)
            const more = ['--dtype', 'float32', '--micro-batch-size', '1', '--quiet', ...shard]
            const ending = await runJob(launcher, size, [main, ...trainInto(output, ...more)], variables)
            expect(ending).toMatchObject({ code: 0, stderr: '' })
            return { losses: lossesOf(output), adapter: readFileSync(join(output, 'adapter_model.safetensors')) }
          }
          const whole = await trained('whole', [], ownHosts)
          expect(await trained('in-parts', ['--shard', 'base'], ownHosts)).toEqual(whole)
          expect(await trained('shared', [])).toEqual(whole)
        },
      )

      onTurn(1, jobs.includes('quantised')).test.each(itsTurn(['q4_0', 'mxfp4', 'nf4']))(
        '2 ranks that quantise to %s train as one does',
        async (format) => {
          const outputs = ['alone', 'each', 'together'].map((name) => join(folder(), name))
          const options = ['--dtype', 'float32', '--micro-batch-size', '1', '--quiet', '--quantise', format]
          const [alone, each, together] = outputs as [string, string, string]
          expect(await start(trainInto(alone, ...options)).ended).toMatchObject({ code: 0, stderr: '' })
          for (const [output, shard] of [[each, []] as const, [together, ['--shard', 'base']] as const]) {
            const ending = await runJob(launcher, 2, [main, ...trainInto(output, ...options, ...shard)])
            expect(ending).toMatchObject({ code: 0, stderr: '' })
          }
          const [one, many] = [lossesOf(alone), lossesOf(each)]
          expect(many).toHaveLength(8)
          for (const [i, loss] of many.entries()) expect(Math.abs(loss / one[i]! - 1)).toBeLessThan(1e-6)
          expect(lossesOf(together)).toEqual(many)
          const adapterIn = (output: string) => readFileSync(join(output, 'adapter_model.safetensors'))
          expect(adapterIn(together).equals(adapterIn(each))).toBe(true)
        },
      )

      onTurn(1, jobs.includes('in thirds')).test(
        'ranks of processes hold a third of a base each, and two blocks',
        async () => {
          const { path, rows, bytesOfBase, bytesOfBlock, most } = await deepModel(folder(), 3)
          const ending = await runJob(launcher, 3, [job, folder(), 'together', '30', path, rows], ownHosts)
          expect(ending).toMatchObject({ code: 0, stderr: '' })
          const all = seen()
          expect(all).toHaveLength(3)
          expect(most).toBeLessThan(1.01 * (bytesOfBase / 3 + 2 * bytesOfBlock))
          expect(most).toBeLessThan(0.7 * bytesOfBase)
          for (const { peak, inUse } of all) {
            expect(inUse).toBeGreaterThan(bytesOfBase / 3)
            expect(inUse).toBeLessThanOrEqual(most)
            // Plus a norm of 64 values as stored.
            expect(peak).toBeLessThanOrEqual(most + 4 * 64)
          }
        },
      )

      onTurn(2).test('all end when one is gone that holds a part', async () => {
        const { path, rows } = await deepModel(folder(), 3)
        const { code } = await runJob(launcher, 3, [job, folder(), 'together', '3', path, rows, '2'], ownHosts)
        expect(code).not.toBe(0)
        const message = 'Rank 2 failed: it ended with exit code 3.'
        const all = seen()
        if (!launcher.endsOthers) expect(all.length).toBeGreaterThan(0)
        for (const one of all) expect(one).toMatchObject({ name: 'RunError', code: 'rank-failed', message })
        await expect.poll(running, { timeout: 10_000 }).toEqual([])
      })

      onTurn(2).test('a rank may compute for longer than one may be silent', async () => {
        const ending = await runJob(launcher, 2, [job, folder(), 'slow', '2'])
        expect(ending).toMatchObject({ code: 0, stderr: '' })
        expect(seen()).toEqual([{ sum: [2] }, { sum: [2] }])
      })

      needing(losing.includes(turn) ? null : lacksLong).test.each(itsTurn(faults))(
        'all ranks end when one is $what, and know which and why',
        async ({ what, why }) => {
          const { code } = await runJob(launcher, 3, [job, folder(), what, '3'])
          expect(code).not.toBe(0)
          const message = `Rank 2 failed: ${why}`
          // Rank 0 ends the job, perhaps before others have written their findings.
          const all = seen()
          if (what !== 'gone' || !launcher.endsOthers) expect(all.length).toBeGreaterThan(0)
          for (const one of all) expect(one).toEqual({ name: 'RunError', code: 'rank-failed', message, again: message })
          await expect.poll(running, { timeout: 10_000 }).toEqual([])
        },
      )

      onTurn(1).test('ranks that do not do the same are told so', async () => {
        const { code } = await runJob(launcher, 2, [job, folder(), 'differs', '3'])
        expect(code).not.toBe(0)
        expect(new Set(seen().flatMap((one) => [one.sum, one.code]))).toEqual(new Set(['ranks-differ']))
      })
    })
  },
)

function lossesOf(output: string): number[] {
  const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n')
  return lines.map((line) => JSON.parse(line)).flatMap(({ loss }) => (loss === undefined ? [] : [loss as number]))
}
