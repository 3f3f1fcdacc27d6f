/** Ranks of an MPI library with the standard ABI, a wrapper of Open MPI, since no system has a native one yet. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findRanksLibraries } from '../../lib/ranks/installed.js'
import { STANDARD_MPI } from '../../lib/ranks/launcher.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lack, needing } from '../needs.js'
import { lacksLauncher, launchers, runJob } from './launchers.js'

const folder = useTemporaryFolder()
const openMpi = launchers[0]!
const compiler = ['cc', 'gcc', 'clang'].find((name) => spawnSync(name, ['--version']).status === 0)

needing(lacksLauncher(openMpi), lack('a C compiler', compiler)).describe('the ABI of the standard', () => {
  const { MORA_MPI_LIBRARY: before, LD_LIBRARY_PATH: paths } = process.env
  beforeEach(() => {
    const library = join(folder(), STANDARD_MPI)
    const source = join(import.meta.dirname, 'standard-abi.c')
    const options = ['-std=gnu17', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', source, '-o', library, '-ldl']
    const { status, stderr } = spawnSync(compiler!, options, { encoding: 'utf8' })
    expect(status, stderr).toBe(0)
    process.env.MORA_MPI_LIBRARY = library
  })
  afterEach(() => {
    for (const [name, value] of Object.entries({ MORA_MPI_LIBRARY: before, LD_LIBRARY_PATH: paths })) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  })

  const run = (size: number, what: string, ...more: string[]) =>
    runJob(openMpi, size, [join(import.meta.dirname, 'job.mjs'), folder(), what, ...more])
  const seen = () => {
    const names = readdirSync(folder()).filter((name) => name.endsWith('.json'))
    return names.sort().map((name) => JSON.parse(readFileSync(join(folder(), name), 'utf8')))
  }

  test('ranks add up, send and gather', async () => {
    expect(await run(2, 'collectives')).toMatchObject({ code: 0, stderr: '' })
    for (const one of seen()) {
      expect(one).toMatchObject({ library: 'Stand-in 1.2.3 with the standard ABI', size: 2, bytes: [1, 7] })
      expect(one.sum.slice(0, 2)).toEqual([2, 1])
      expect(one.farthest).toBeLessThan(2 ** -22)
      expect(one.gathered).toEqual([
        [0, 9],
        [1, 9],
      ])
    }
    expect(new Set(seen().map(({ hash }) => hash)).size).toBe(1)
  })

  test('all ranks learn of one that gave up', async () => {
    expect((await run(2, 'gaveUp', '3')).code).not.toBe(0)
    const messages = new Set(seen().map(({ message }) => message))
    expect(messages).toEqual(new Set(['Rank 1 failed: no more rows.']))
  })

  test('mora doctor names it', () => {
    delete process.env.MORA_MPI_LIBRARY
    process.env.LD_LIBRARY_PATH = folder()
    const [found] = findRanksLibraries([[STANDARD_MPI]])
    expect(found).toEqual({ name: 'Stand-in (standard ABI)', version: '1.2.3' })
  })
})
