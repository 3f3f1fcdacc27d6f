/** A long run: 2,000 steps, 20,000 in `npm run test:long`. Memory does not grow, nothing is missing, nothing is left over. */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { loadModel } from '../../lib/models/load-model.js'
import { train } from '../../lib/train/train.js'
import { filesOfModel, onDevice } from '../fuzz/targets/tiny-model.js'
import { quickFolder, writeFiles } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { rows, writeRows } from './tiny-run.js'

const STEPS = process.env.MORA_TEST_LONG ? 20_000 : 2000
const EVERY = STEPS / 20

const folder = quickFolder()
const device = testDevice()
afterAll(() => {
  rmSync(folder, { recursive: true })
  expect(liveBytes(device), 'bytes in use at the end').toBe(0)
})

const openFiles = () => readdirSync('/proc/self/fd').length

test('memory and files stay flat, metrics are whole, old checkpoints are gone', { timeout: 3_600_000 }, async () => {
  writeFiles(folder, await filesOfModel((made, place) => made.save(join(place, 'model'))))
  using model = await loadModel(join(folder, 'model'), onDevice)
  model.addAdapter('a', mora({ rank: 1, dropout: 0.1 }))
  const data = writeRows(folder, 'rows.jsonl', rows(24))
  const output = join(folder, 'out')
  const run = train(model, {
    data,
    evalData: data,
    output,
    maxSteps: STEPS,
    batchSize: 2,
    learningRate: 1e-4,
    evalEvery: EVERY,
    saveEvery: EVERY,
    keepCheckpoints: 3,
    keepBest: true,
  })
  const seen: { bytes: number; resident: number; files: number }[] = []
  for await (const event of run) {
    if (event.type !== 'step' || event.step % EVERY !== EVERY / 2) continue
    globalThis.gc?.()
    seen.push({ bytes: model.device.memory().inUse, resident: process.memoryUsage().rss, files: openFiles() })
  }
  expect((await run.finished).steps).toBe(STEPS)

  const [, ...settled] = seen
  expect(new Set(settled.map(({ bytes }) => bytes)).size, 'different sizes of memory in use').toBe(1)
  expect(new Set(settled.map(({ files }) => files)).size, 'different counts of open files').toBe(1)
  // A leak of 64 KiB a step would be more than 100 MiB; the collector's own heap moves by less than 48.
  const half = settled.slice(settled.length / 2)
  const growth = half.at(-1)!.resident - half[0]!.resident
  expect(growth, 'growth of the process in bytes in the second half').toBeLessThan(48 * 2 ** 20)

  const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  const steps = lines.filter(({ loss }) => loss !== undefined)
  expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1))
  expect(steps.every(({ loss, gradNorm }) => Number.isFinite(loss) && Number.isFinite(gradNorm))).toBe(true)
  expect(lines.filter(({ evalLoss }) => evalLoss !== undefined)).toHaveLength(20)

  const kept = [17, 18, 19, 20].map((part) => `step-${String(part * EVERY).padStart(6, '0')}`)
  const checkpoints = readdirSync(join(output, 'checkpoints')).sort()
  expect(checkpoints.slice(-3)).toEqual(kept.slice(-3))
  // Plus the one with the lowest evaluation loss.
  expect(checkpoints.length).toBeLessThanOrEqual(4)
})
