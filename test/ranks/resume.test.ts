/**
 * A run resumes if only rank 0 has its folder: ranks have working folders of their own, and network namespaces where possible.
 * `npm test` uses one launcher, `npm run test:long` all.
 */
import { appendFileSync, cpSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect } from 'vitest'
import { hiddenIn, main, resultOf, trainInto } from '../faults/command.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { byHand, type Launcher, lacksGloo, lacksLauncher, launchers, runJob } from './launchers.js'
import { lacksNamespaces, Namespaces } from './namespaces.js'

const folder = useTemporaryFolder()
const isLong = Boolean(process.env.MORA_TEST_LONG)
const lacksMachines = lacksNamespaces() ?? lacksGloo

const launcherOn = (machines: Namespaces): Launcher => byHand('gloo', machines.addresses[0], machines.through)

describe.each([
  ...launchers.map(({ name }, i) => ({ name, i })).filter(({ i }) => isLong || i === (lacksMachines === null ? -1 : 2)),
  { name: 'gloo between namespaces', i: -1 },
])('$name', ({ i }) => {
  const lacks = launchers[i] ? lacksLauncher(launchers[i]) : lacksMachines
  needing(lacks, lacksBuild).test('hands a checkpoint over', async () => {
    using machines = i < 0 ? new Namespaces() : null
    const launcher = machines ? launcherOn(machines) : launchers[i]!
    const first = join(folder(), 'rank-0')
    /** Runs two ranks that write into `output` in their own folders. */
    const train = (output: string, ...more: string[]) => {
      const options = ['--save-every', '3', '--merge-every', '2', '--dtype', 'float32', '--quiet', ...more]
      const variables = {
        MORA_TEST_FOLDERS: folder(),
        TMPDIR: folder(),
        NODE_OPTIONS: `--import=${join(import.meta.dirname, 'own-folder.mjs')}`,
      }
      return runJob(launcher, 2, [main, ...trainInto(output, ...options)], variables)
    }
    /** The files of a run that reached its third step. */
    const begun = (name: string) => {
      cpSync(join(first, 'whole'), join(first, name), { recursive: true })
      for (const step of [6, 8]) rmSync(join(first, name, 'checkpoints', `step-00000${step}`), { recursive: true })
      rmSync(join(first, name, 'model'), { recursive: true })
    }
    expect(await train('whole')).toMatchObject({ code: 0, stderr: '' })

    begun('out')
    expect(await train('out', '--resume')).toMatchObject({ code: 0, stderr: '' })
    expect(resultOf(join(first, 'out'))).toEqual(resultOf(join(first, 'whole')))

    begun('damaged')
    const checkpoint = join('damaged', 'checkpoints', 'step-000003')
    appendFileSync(join(first, checkpoint, 'weights.safetensors'), 'more')
    const { code, stderr } = await train('damaged', '--resume', checkpoint)
    expect(code).toBe(1)
    const sentence = `mora: The checkpoint ${checkpoint} cannot be resumed from: weights.safetensors has`
    expect(stderr.split('\n').filter((line) => line.startsWith('mora: '))).toEqual([expect.stringContaining(sentence)])

    expect(readdirSync(folder()).sort()).toEqual(['rank-0', 'rank-1'])
    expect(readdirSync(join(folder(), 'rank-1'))).toEqual([])
    expect(hiddenIn(first)).toEqual([])
  })
})
