/** Ranks that gloo connects: between addresses, and when the platform stops one. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { binaryPath } from '../../lib/native/binary.js'
import { main, resultOf, start, trainInto } from '../faults/command.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { byHand, lacksGloo, runJob } from './launchers.js'
import { lacksNamespaces, Namespaces } from './namespaces.js'

const folder = useTemporaryFolder()
const job = join(import.meta.dirname, 'job.mjs')

const seen = () => {
  const names = readdirSync(folder()).filter((name) => name.endsWith('.json'))
  return names.sort().map((name) => JSON.parse(readFileSync(join(folder(), name), 'utf8')))
}

needing(lacksNamespaces(), lacksGloo, lacksBuild).describe('between two addresses', () => {
  const between = (machines: Namespaces) => byHand('gloo', machines.addresses[0], machines.through)

  test('ranks train as one process does', async () => {
    using machines = new Namespaces()
    const [alone, together] = [join(folder(), 'alone'), join(folder(), 'together')]
    const argvFor = (output: string) => trainInto(output, '--dtype', 'float32', '--quiet')
    expect(await start(argvFor(alone)).ended).toMatchObject({ code: 0, stderr: '' })
    expect(await runJob(between(machines), 2, [main, ...argvFor(together)])).toMatchObject({ code: 0, stderr: '' })
    const [one, many] = [resultOf(alone).steps, resultOf(together).steps]
    expect(many).toHaveLength(8)
    for (const [i, [step, loss]] of many.entries()) {
      expect(step).toBe(i + 1)
      expect(Math.abs(loss! / one[i]![1]! - 1)).toBeLessThan(1e-6)
    }
  })

  test('both end when the cable between them is pulled', async () => {
    using machines = new Namespaces()
    const ended = runJob(between(machines), 2, [job, folder(), 'parted', '2'])
    await expect.poll(() => existsSync(join(folder(), 'ready')), { timeout: 60_000 }).toBe(true)
    machines.part()
    expect((await ended).code).toBe(1)
    const message = (other: number) =>
      `Rank ${other} failed: it has been silent for 1 s, so it was stopped, has ended or has lost its connection.`
    expect(seen().map((one) => one.message)).toEqual([message(1), message(0)])
  })
})

needing(lacksGloo, lacksBuild).describe('a rank that is stopped', () => {
  let children: ChildProcess[] = []
  afterEach(() => {
    for (const child of children) child.kill('SIGKILL')
  })

  test('ends by itself if it ever continues', { timeout: 60_000 }, async () => {
    children = await byHand('gloo', '127.0.0.1').start(2, [job, folder(), 'stopped', '3'])
    const [first, last] = children.map((child) => once(child, 'exit'))
    expect(await first).toEqual([1, null])
    children[1]!.kill('SIGCONT')
    expect(await last).toEqual([1, null])
  })
})

needing(lacksGloo, lacksBuild).test('a rank 0 without gloo ends the job, and says why on all ranks', async () => {
  const without = join(folder(), 'Release')
  mkdirSync(without)
  copyFileSync(binaryPath(), join(without, 'mora.node'))
  const launcher = byHand('gloo', '127.0.0.1', (rank) => (rank === 0 ? ['env', `MORA_BUILD_FOLDER=${folder()}`] : []))
  const { codes, stderr } = await runJob(launcher, 2, [main, ...trainInto(join(folder(), 'out'))])
  expect(codes).toEqual([1, 1])
  const why = 'Rank 0 cannot start: These ranks meet over TCP, which takes gloo: '
  expect(stderr).toContain(`mora: ${why}`)
  expect(stderr).toContain(`mora: Rank 0 refuses rank 1: ${why}`)
})
