/** NEFTune: uniform noise on the embeddings of training passes. */
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { packBatch } from '../../lib/batches/packing.js'
import { streamKey } from '../../lib/common/random.js'
import { embeddingNoise } from '../../lib/models/network/embedding-noise.js'
import { openDevice } from '../../lib/tensor/device.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { largestDifference } from '../golden/files.js'
import { loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const rowOf = (length: number, row: number) => {
  const ids = Array.from({ length }, (_, i) => (7 * i + row) % 50)
  return { ids, mask: ids.map(() => 1), row }
}

test('noise is uniform within ±α/√(L D) of each document', async () => {
  const device = openDevice({ device: testDevice().kind })
  const [lengths, width] = [[40, 10, 90], 64]
  const noise = { alpha: 5, key: (bit: number) => streamKey(1, 'neftune', 3, bit) }
  const rows = lengths.map(rowOf)
  using tensor = embeddingNoise(packBatch(rows), width, noise, device)
  using padded = embeddingNoise(packBatch(rows, { padTo: 100 }), width, noise, device)
  const [values, others] = [(await tensor.data()) as Float32Array, (await padded.data()) as Float32Array]
  let start = 0
  for (const [i, length] of lengths.entries()) {
    const bound = 5 / Math.sqrt(length * width)
    const own = values.subarray(start * width, (start + length) * width)
    const mean = own.reduce((sum, value) => sum + value, 0) / own.length
    const variance = own.reduce((sum, value) => sum + value ** 2, 0) / own.length
    expect(Math.max(...own.map(Math.abs))).toBeLessThanOrEqual(bound)
    expect(Math.max(...own)).toBeGreaterThan(0.98 * bound)
    expect(Math.abs(mean)).toBeLessThan((4 * bound) / Math.sqrt(3 * own.length))
    expect(variance / (bound ** 2 / 3)).toBeGreaterThan(0.9)
    expect(variance / (bound ** 2 / 3)).toBeLessThan(1.1)
    // The length of a document is that without its padding.
    expect(others.subarray(100 * i * width, (100 * i + length) * width)).toEqual(own)
    start += length
  }
})

test('a packed batch is the sum of its rows, each step has its own noise, and null turns it off', async () => {
  using model = await loadTiny('tiny-untied')
  model.addAdapter('a', lora({ rank: 2 }))
  const rows = [9, 4, 15].map(rowOf)
  const lossOf = async (some: typeof rows, key: { seed: number; step: number; neftuneAlpha?: number } | null) => {
    model.setDropout(key)
    const { loss } = await model.lossAsync(packBatch(some), { gradients: false })
    const value = await loss.item()
    loss.dispose()
    return value
  }
  const key = { seed: 1, step: 1, neftuneAlpha: 50 }
  const whole = await lossOf(rows, key)
  let apart = 0
  for (const row of rows) apart += await lossOf([row], key)
  expect(Math.abs(apart / whole - 1)).toBeLessThan(1e-5)
  expect(await lossOf(rows, { ...key, step: 2 })).not.toBe(whole)
  const plain = await lossOf(rows, null)
  expect(plain).not.toBe(whole)
  expect(await lossOf(rows, { seed: 1, step: 1 })).toBe(plain)
})

const data = [9, 4, 15, 6, 12].map((length, row) => ({ input_ids: rowOf(length, row).ids }))

async function run(changes: Partial<TrainOptions> = {}) {
  using own = await loadTiny('tiny-untied')
  const events: { losses: number[]; evalLosses: number[] } = { losses: [], evalLosses: [] }
  const course = { method: 'lora', rank: 2, learningRate: 1e-3, scheduler: 'constant', batchSize: 4, maxSteps: 4, data }
  const run = train(own, { ...course, neftuneAlpha: 20, ...changes } as TrainOptions)
  for await (const event of run) {
    if (event.type === 'step') events.losses.push(event.loss)
    if (event.type === 'evaluation') events.evalLosses.push(event.evalLoss)
  }
  await run.finished
  return events
}

test('a run is the same in micro-batches and padded, resumes with the same bits, and evaluates without noise', async () => {
  const whole = await run()
  for (const other of [
    await run({ microBatchSize: 1 }),
    await run({ packing: false }),
    await run({ gradientCheckpointing: true }),
  ])
    expect(largestDifference(other.losses, whole.losses)).toBeLessThan(1e-5)
  const output = join(folder(), 'half')
  await run({ output, maxSteps: 2 })
  await expect(run({ output, resume: true, neftuneAlpha: 5 })).rejects.toThrow('neftuneAlpha')
  expect((await run({ output, resume: true })).losses).toEqual(whole.losses.slice(2))
  const still = { evalData: data, learningRate: 1e-12, maxSteps: 1 }
  const [noisy, plain] = [await run(still), await run({ ...still, neftuneAlpha: 0 })]
  expect(noisy.losses[0]).not.toBeCloseTo(plain.losses[0]!, 4)
  expect(noisy.evalLosses[0]).toBeCloseTo(plain.evalLosses[0]!, 6)
})
