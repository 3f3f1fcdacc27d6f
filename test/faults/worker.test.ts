import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { expect } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { train } from '../../lib/train/train.js'
import { goldenPath } from '../golden/files.js'
import { loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { lacksBuild, needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import { stepsOf } from '../train/steps-of.js'

const at = useTemporaryFolder()
const library = join(import.meta.dirname, '..', '..', 'dist', 'index.js')
const data = goldenPath('tiny-untied/training/rotation-cosine/rows.jsonl')

/** Resolves with the worker's n-th message of a kind. */
function nth(worker: Worker, kind: string, n: number): Promise<void> {
  let count = 0
  return new Promise((resolve, reject) => {
    worker.on('message', (message) => message === kind && ++count === n && resolve())
    worker.once('error', reject)
  })
}

needing(lacksBuild).test(
  'a worker thread that is terminated while it trains or saves gives back its memory, and others go on',
  { timeout: 300_000 },
  async () => {
    const device = testDevice()
    const before = liveBytes(device)
    using model = await loadTiny('tiny-untied')
    model.addAdapter('a', mora({ rank: 2 }))
    for (const [i, [kind, n]] of [['step', 1] as const, ['step', 5] as const, ['checkpoint', 2] as const].entries()) {
      const workerData = { library, model: goldenPath('tiny-untied/model'), data, output: join(at(), `worker-${i}`) }
      const worker = new Worker(join(import.meta.dirname, 'worker.mjs'), { workerData })
      await nth(worker, kind, n)
      const run = stepsOf(train(model, { data, output: join(at(), `own-${i}`), maxSteps: 3, batchSize: 4 }))
      expect(await worker.terminate()).toBe(1)
      expect(await run).toHaveLength(3)
    }
    await device.synchronize()
    model.dispose()
    expect(liveBytes(device)).toBe(before)
  },
)
