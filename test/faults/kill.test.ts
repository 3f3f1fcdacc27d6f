/** SIGKILL in the middle of a change of files, at moments drawn from a seed: 4 of them, 110 in `npm run test:long`. */
import { cpSync, existsSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { drawn } from '../drawn.js'
import { needing } from '../needs.js'
import { expectSameEnd } from './again-and-again.js'
import { contentOf, everythingOf, exportInto, hiddenIn, mergeInto, trainInto } from './command.js'
import { FailingDisk, lacksDisk } from './disk.js'

const saving = ['--save-every', '2', '--quiet']
const times = process.env.MORA_TEST_LONG ? 10 : 1

needing(lacksDisk).describe('a process that is killed', { timeout: 1_800_000 }, () => {
  let disk: FailingDisk
  beforeAll(() => {
    disk = new FailingDisk()
  })
  afterAll(() => disk[Symbol.dispose]())

  const runs: [string, number, string[]][] = [
    ['a run', 4, []],
    ['a run that merges on the way', 2, ['--merge-every', '3', '--regroup', 'permute']],
  ]
  it.each(drawn('runs that are killed', runs, 1))(
    '%s: T20, T21 goes on from its newest whole checkpoint and ends with the same bits',
    async (name, kills, more) => {
      const random = randomStream(1, 'kill', name)
      await expectSameEnd(disk, name, (output) => trainInto(output, ...saving, ...more), {
        deaths: times === 1 ? kills / 2 : kills * times,
        run: (argv, { changes }) => disk.run(argv, { kind: 'kill', at: 1 + random.integer(changes) }),
      })
    },
  )

  it('a run that begins anew never goes on from what it replaces', async () => {
    const [whole, output] = [disk.at('replaced'), disk.at('anew')]
    const argvFor = (place: string) => trainInto(place, '--save-every', '2')
    expect((await disk.run(argvFor(whole))).code).toBe(0)
    for (let at = 8; at < 8 + times; at++) {
      cpSync(whole, output, { recursive: true })
      const { signal } = await disk.run([...argvFor(output), '--overwrite'], { kind: 'kill', at })
      expect(signal).toBe('SIGKILL')
      const { code, stderr } = await disk.run([...argvFor(output), '--resume'])
      expect(code, stderr).toBe(0)
      expect(stderr).not.toMatch(/has no line/)
      expect(everythingOf(output)).toEqual(everythingOf(whole))
      rmSync(output, { recursive: true })
    }
  })

  const results: [string, number, (output: string, ...more: string[]) => string[]][] = [
    ['a merged folder', 1, (output, ...more) => mergeInto(output, disk.at('adapter'), ...more)],
    ['a merged.gguf', 1, (output, ...more) => mergeInto(output, disk.at('adapter'), ...more)],
    ['a PEFT export', 1, (output, ...more) => exportInto(output, disk.at('adapter'), 'peft', ...more)],
    ['a GGUF export.gguf', 1, (output, ...more) => exportInto(output, disk.at('adapter'), 'gguf-lora', ...more)],
  ]
  it.each(drawn('results whose writing is killed', results, 1))(
    '%s is whole or not there, and comes out the same the next time',
    async (name, kills, argv) => {
      if (!existsSync(disk.at('adapter'))) await disk.run(trainInto(disk.at('adapter'), '--method', 'lora'))
      const [whole, output] = [disk.at(`whole ${name}`), disk.at(name)]
      const undisturbed = await disk.run(argv(whole))
      expect(undisturbed.code, undisturbed.stderr).toBe(0)
      const random = randomStream(1, 'kill', name)
      for (let i = 0; i < kills * times; i++) {
        const at = 1 + random.integer(undisturbed.changes)
        const { signal } = await disk.run(argv(output, '--overwrite'), { kind: 'kill', at })
        expect(signal).toBe('SIGKILL')
        const left = contentOf(output)
        if (left !== null) expect(left).toEqual(contentOf(whole))
      }
      const { code, stderr } = await disk.run(argv(output, '--overwrite'))
      expect(code, stderr).toBe(0)
      expect(contentOf(output)).toEqual(contentOf(whole))
      expect(hiddenIn(dirname(output))).toEqual([])
    },
  )
})
