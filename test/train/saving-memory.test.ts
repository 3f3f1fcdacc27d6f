/** The memory of steps is freed while values are written. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { loadModel } from '../../lib/models/load-model.js'
import { train } from '../../lib/train/train.js'
import { filesOfModel, onDevice } from '../fuzz/targets/tiny-model.js'
import { quickFolder, writeFiles } from '../io/temporary.js'
import { lacksCpu, needing } from '../needs.js'
import { rows, writeRows } from './tiny-run.js'

const folder = quickFolder()
afterAll(() => rmSync(folder, { recursive: true }))

needing(lacksCpu).test('a checkpoint is written without the memory of the steps before it', async () => {
  writeFiles(folder, await filesOfModel((made, place) => made.save(join(place, 'model'))))
  using model = await loadModel(join(folder, 'model'), onDevice)
  model.addAdapter('a', mora({ rank: 1 }))
  const data = writeRows(folder, 'rows.jsonl', rows(24))
  const cached: Record<string, number> = {}
  const onEvent = ({ type }: { type: string }) => {
    cached[type] = model.device.memory().cached
  }
  await train(model, { data, output: join(folder, 'out'), maxSteps: 2, batchSize: 8, onEvent }).finished
  expect(cached.step).toBeGreaterThan(0)
  expect(cached.checkpoint).toBeLessThan(cached.step! / 4)
})
