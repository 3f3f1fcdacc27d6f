/** A disk that is full, broken or read-only from some moment on: a sentence, and nothing that was there before is lost. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { drawn } from '../drawn.js'
import { needing } from '../needs.js'
import { contentOf, mergeInto, resultOf, trainInto } from './command.js'
import { FailingDisk, type Fault, lacksDisk } from './disk.js'

const saving = ['--save-every', '2', '--quiet']
const moments = process.env.MORA_TEST_LONG ? 20 : 2

const reasons: Record<Exclude<Fault['kind'], 'kill'>, RegExp> = {
  ENOSPC: /the disk is full|ENOSPC/,
  EIO: /EIO/,
  EROFS: /EROFS/,
}

needing(lacksDisk).describe('on a disk that fails', { timeout: 1_800_000 }, () => {
  let disk: FailingDisk
  let changes = 0
  beforeAll(async () => {
    disk = new FailingDisk()
    const undisturbed = await disk.run(trainInto(disk.at('whole'), ...saving))
    expect(undisturbed.code, undisturbed.stderr).toBe(0)
    changes = undisturbed.changes
  })
  afterAll(() => disk[Symbol.dispose]())

  const kinds = Object.entries(reasons) as [Exclude<Fault['kind'], 'kill'>, RegExp][]
  it.each(drawn('faults of a disk', kinds, 1))(
    'by %s, a run ends with a sentence that names the place, and goes on once the disk is well',
    async (kind, reason) => {
      const output = disk.at(`run ${kind}`)
      const random = randomStream(1, 'failing disk', kind)
      for (const at of [1, ...Array.from({ length: moments - 1 }, () => 1 + random.integer(changes))]) {
        const failed = await disk.run(trainInto(output, ...saving, '--resume'), { kind, at })
        if (failed.code === 0) continue // so few changes were left
        expect([1, 2], failed.stderr).toContain(failed.code)
        expect(failed.stderr).toMatch(/^mora: .*\n$/)
        expect(failed.stderr).toContain(output)
        expect(failed.stderr).toMatch(reason)
      }
      const { code, stderr } = await disk.run(trainInto(output, ...saving, '--resume'))
      expect(code, stderr).toBe(0)
      expect(resultOf(output)).toEqual(resultOf(disk.at('whole')))
    },
  )

  it.each(drawn('merges on a failing disk', ['merged', 'merged.gguf'], 1))(
    '%s has its old content or its new one',
    async (name) => {
      const adapter = disk.at('whole')
      const [before, output] = [disk.at(`before ${name}`), disk.at(name)]
      const first = await disk.run(mergeInto(before, adapter, '--dtype', 'bfloat16'))
      expect(first.code, first.stderr).toBe(0)
      const asBefore = () => disk.run(mergeInto(output, adapter, '--dtype', 'bfloat16', '--overwrite'))
      await asBefore()
      const random = randomStream(1, 'failing disk', name)
      for (const kind of ['ENOSPC', 'EIO'] as const) {
        const at = 1 + random.integer(first.changes)
        const { code, stderr } = await disk.run(mergeInto(output, adapter, '--overwrite'), { kind, at })
        if (code === 0) await asBefore()
        else {
          expect(stderr).toContain(output)
          expect(stderr).toMatch(reasons[kind])
          expect(contentOf(output)).toEqual(contentOf(before))
        }
      }
    },
  )
})
