/**
 * The power is cut at any change of a file, and what was not synced may be lost: 3 times, 200 times in `npm run test:long`.
 * MORA_TEST_SEED draws others.
 */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { removeLeftovers } from '../../lib/io/leftovers.js'
import { words } from '../cli/words.js'
import { drawn } from '../drawn.js'
import { lacksLong, needing } from '../needs.js'
import { expectSameEnd } from './again-and-again.js'
import { contentOf, type Ending, everythingOf } from './command.js'
import { FailingDisk, lacksDisk } from './disk.js'
import { type Combination, combinations, titled, trainTiny, writeTinyModel } from './run-options.js'

const isLong = Boolean(process.env.MORA_TEST_LONG)
const seed = Number(process.env.MORA_TEST_SEED ?? 1)
const all = randomStream(seed, 'combinations').shuffle(combinations(seed))
const isLora = ({ name }: Combination) => name.startsWith('trained lora,')
const isMerging = ({ name }: Combination) => name.includes('merged')
const others = all.filter((one) => !isMerging(one)).slice(0, isLong ? 19 : 1)
const some = drawn('runs whose power is cut', [all.find(isMerging)!, ...others], 1)

/** Tracks what a run has reported as saved: it must resume from there at least, and know of every step. */
function believing(): (ending: Ending) => void {
  let saved = 0
  return ({ code, stderr }) => {
    const goesOn = /continues from step (\d+)/.exec(stderr)?.[1] ?? /starts at step (0)/.exec(stderr)?.[1]
    if (goesOn !== undefined) expect(Number(goesOn), stderr).toBeGreaterThanOrEqual(saved)
    expect(stderr).not.toMatch(/has no line|skipped/)
    const told = [...stderr.matchAll(/step (\d+): saved/g)].map(([, step]) => Number(step))
    saved = code === 0 ? 0 : Math.max(saved, ...told)
  }
}

needing(lacksDisk).describe('after a power cut', { timeout: 1_800_000 }, () => {
  let disk: FailingDisk
  beforeAll(async () => {
    disk = new FailingDisk()
    await writeTinyModel(disk.at('model'))
  })
  afterAll(() => disk[Symbol.dispose]())

  const train = (output: string, argv: readonly string[]) => trainTiny(disk.at('model'), output, argv)

  it.each(titled(some))(
    'T20 a run resumes from the state that it reported as saved, and ends the same: %s',
    async (name, argv) => {
      const random = randomStream(seed, 'power cut', name)
      await expectSameEnd(disk, 'run', (output) => train(output, argv), {
        deaths: isLong ? 8 : 2,
        run: (argv, { changes }) => disk.runUntilCut(argv, { at: 1 + random.integer(changes) }, random),
        see: believing(),
      })
    },
  )

  it('a finished result is there even if a disk has only synced data', async () => {
    const random = randomStream(seed, 'nothing else')
    const [output, merged] = [disk.at('deep/down/run'), disk.at('deep/merged')]
    const ended = (argv: readonly string[]) => disk.runUntilCut(argv, { at: 1e9 }, random, { names: 0, bytes: 0 })
    const { argv } = all.find(isLora)!
    expect((await disk.run(train(disk.at('adapter'), argv))).code).toBe(0)
    expect((await ended(train(output, argv))).code).toBe(0)
    expect(everythingOf(output)).toEqual(everythingOf(disk.at('adapter')))
    const merge = ['merge', '--model', disk.at('model'), '--adapter', output, '--threads', '1', '--output']
    expect((await disk.run([...merge, disk.at('merged, undisturbed')])).code).toBe(0)
    expect((await ended([...merge, merged])).code).toBe(0)
    expect(contentOf(merged)).toEqual(contentOf(disk.at('merged, undisturbed')))
  })

  needing(lacksLong).it('the lock of a run is taken over, wherever another was at that', async () => {
    const random = randomStream(seed, 'lock')
    const argv = [...train(disk.at('locked'), all.find(isLora)!.argv), '--resume']
    await disk.run(argv, { kind: 'kill', at: 8 })
    for (let at = 1; at < 12; at++) await disk.runUntilCut(argv, { at }, random, { names: 1, bytes: 0 })
    const { code, stderr } = await disk.run(argv)
    expect(code, stderr).toBe(0)
  })

  it.each(drawn('merges whose power is cut', ['merged', 'merged.gguf'], 1))(
    '%s has its old content or its new one',
    async (name) => {
      const random = randomStream(seed, 'power cut', name)
      const [adapter, before, after, output] = ['adapter', `before ${name}`, `after ${name}`, name].map((it) =>
        disk.at(it),
      )
      if (contentOf(adapter!) === null) await disk.run(train(adapter!, all.find(isLora)!.argv))
      const merge = (place: string, ...more: string[]) => words`
      merge --model ${disk.at('model')} --adapter ${adapter!} --output ${place} --threads 1 ${more}
    `
      const old = ['--dtype', 'bfloat16']
      expect((await disk.run(merge(before!, ...old))).code).toBe(0)
      const { changes, stderr } = await disk.run(merge(after!))
      expect(changes, stderr).toBeGreaterThan(0)
      const [was, is] = [contentOf(before!), contentOf(after!)]
      for (let cut = 0; cut < (isLong ? 20 : 1); cut++) {
        await disk.run(merge(output!, '--overwrite', ...old))
        // Two renames and the removals come last.
        const at = Math.max(1, changes + 6 - random.integer(isLong ? changes : 12))
        const { code } = await disk.runUntilCut(merge(output!, '--overwrite'), { at }, random)
        await removeLeftovers(disk.at(''))
        expect(code === 0 ? [is] : [was, is]).toContainEqual(contentOf(output!))
      }
    },
  )
})
