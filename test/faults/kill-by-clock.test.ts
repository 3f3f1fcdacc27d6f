/** SIGKILL at any time, over options of which any two meet: 2 times, 1,000 times in `npm run test:long`. MORA_TEST_SEED draws others. */
import { afterAll, beforeAll, it } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { needing } from '../needs.js'
import { expectSameEnd } from './again-and-again.js'
import { FailingDisk, lacksDisk } from './disk.js'
import { combinations, titled, trainTiny, writeTinyModel } from './run-options.js'

const isLong = Boolean(process.env.MORA_TEST_LONG)
const seed = Number(process.env.MORA_TEST_SEED ?? 1)
const all = randomStream(seed, 'combinations').shuffle(combinations(seed))
const some = isLong ? all : all.slice(0, 1)
const deaths = isLong ? Math.ceil(1000 / all.length) : 2

needing(lacksDisk).describe('a run that is killed by the clock', { timeout: 1_800_000 }, () => {
  let disk: FailingDisk
  beforeAll(async () => {
    disk = new FailingDisk()
    await writeTinyModel(disk.at('model'))
  })
  afterAll(() => disk[Symbol.dispose]())

  it.each(titled(some))('%s: T21 ends as if nothing had happened', async (name, argv) => {
    const random = randomStream(seed, 'kill by the clock', name)
    await expectSameEnd(disk, 'run', (output) => trainTiny(disk.at('model'), output, argv), {
      deaths,
      run: (argv, { microseconds }) => disk.run(argv, { kind: 'kill', after: random.integer(microseconds) }),
    })
  })
})
