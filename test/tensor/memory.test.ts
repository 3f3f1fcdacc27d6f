/** Memory over a long run, and when it runs out. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { initModel } from '../../lib/models/load-model.js'
import type { Model } from '../../lib/models/model.js'
import { native } from '../../lib/native/addon.js'
import { AdamW } from '../../lib/optim/adamw.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { batchOf } from '../golden/tiny-models.js'
import { fileOf, useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { lacksTimeToEmulate, needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const device = testDevice()
const temporary = useTemporaryFolder()

const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_act: 'silu',
  hidden_size: 16,
  intermediate_size: 24,
  num_attention_heads: 2,
  num_hidden_layers: 1,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  vocab_size: 40,
}

const makeModel = (): Promise<Model> =>
  initModel(fileOf(temporary(), 'config.json', JSON.stringify(config)), {
    device: process.env.MORA_TEST_DEVICE ?? 'cpu',
    dtype: 'float32',
    threads: 1,
  })

const row = (length: number) => ({ input_ids: Array.from({ length }, (_, i) => (7 * i + length) % 40) })

async function takeStep(model: Model, optimizer: AdamW, length: number): Promise<number> {
  const { loss, targetTokens } = model.loss(batchOf([row(length), row(5)]))
  await loss.backward()
  const norm = optimizer.step({ learningRate: 1e-3, scaleGradients: 1 / targetTokens, maxGradNorm: 1 })
  const value = await loss.item()
  loss.dispose()
  norm.dispose()
  return value / targetTokens
}

/** Bytes in use: objects that JavaScript still reaches, and the process's pages outside its heap. */
function heldByProcess(): { objects: number; native: number } {
  collectGarbage()
  const { heapUsed, heapTotal, rss } = process.memoryUsage()
  return { objects: heapUsed, native: rss - heapTotal }
}

afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

needing(lacksTimeToEmulate).test('products of a thousand more shapes keep no more memory', async () => {
  const [x, w, y] = [3100, 64, 3100].map((rows) => Tensor.zeros([rows, 64], { device })) as [Tensor, Tensor, Tensor]
  const multiply = async (from: number, to: number) => {
    for (let rows = from; rows < to; rows++) {
      const [input, output] = [x, y].map((tensor) => tensor.view([rows, 64], [64, 1])) as [Tensor, Tensor]
      native.matmul({ a: input.native, b: w.native, transposeB: true, c: output.native })
      input.dispose()
      output.dispose()
    }
    await device.synchronize()
  }
  // Products of fewer rows are split into fewer kinds of pieces, so less is cached.
  await multiply(1100, 2100)
  const resident = process.memoryUsage().rss
  await multiply(2100, 3100)
  expect((process.memoryUsage().rss - resident) / 2 ** 20).toBeLessThan(24)
  for (const tensor of [x, w, y]) tensor.dispose()
})

/** Training steps in each of four parts of a run. */
const STEPS = process.env.MORA_TEST_LONG ? 500 : 250

needing(lacksTimeToEmulate).test(`${4 * STEPS} training steps use no more memory than one`, async () => {
  using model = await makeModel()
  model.addAdapter('rotation', mora({ rank: 1, operator: 'rotation' }))
  model.addAdapter('sharing', mora({ rank: 1, operator: 'sharing' }))
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  const lengths = [3, 11, 6, 2]
  for (let step = 0; step < 200; step++) await takeStep(model, optimizer, lengths[step % lengths.length]!)
  const [bytes, held] = [device.memory().inUse, heldByProcess()]
  device.resetPeak()
  for (const length of lengths) await takeStep(model, optimizer, length)
  const { peak } = device.memory()
  const growth: number[] = []
  for (let part = 0; part < 4; part++) {
    const before = heldByProcess().native
    for (let step = 0; step < STEPS; step++) {
      await takeStep(model, optimizer, lengths[step % lengths.length]!)
      if (step % 50 === 0) expect(device.memory().inUse, `bytes in use after step ${step}`).toBe(bytes)
    }
    growth.push(heldByProcess().native - before)
  }
  expect(device.memory().inUse).toBe(bytes)
  expect(device.memory().peak, 'highest use').toBe(peak)
  // A leak of 64 KiB a step would be 31 or 16 MiB in each part; the pages that the collector keeps for itself come in some.
  expect(Math.min(...growth), 'growth outside the heap in bytes').toBeLessThan(48 * 2 ** 10 * STEPS)
  expect(heldByProcess().objects - held.objects, 'growth of what JavaScript reaches in bytes').toBeLessThan(4 * 2 ** 20)
  optimizer.dispose()
})

test('a loss that is dropped without a backward pass frees what was saved for it', async () => {
  using model = await makeModel()
  model.addAdapter('a', mora({ rank: 2 }))
  model.loss(batchOf([row(9)])).loss.dispose()
  const rest = liveBytes(device)
  model.loss(batchOf([row(9)])).loss.dispose()
  expect(liveBytes(device)).toBe(rest)
})

describe('when memory runs out', () => {
  let limit = 0
  beforeAll(() => {
    limit = device.memory().limit
  })
  afterEach(() => device.setMemoryLimit(limit))

  test('the error has the figures, and the device stays usable', async () => {
    const held = Tensor.zeros([1024, 1024], { device })
    await device.synchronize()
    const { inUse } = device.memory()
    const [used, allowed] = [inUse, inUse + 2 ** 20].map((bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`)
    device.setMemoryLimit(inUse + 2 ** 20)
    expect(() => Tensor.empty([1024, 1024], { device })).toThrow(
      expect.objectContaining({
        code: 'out-of-memory',
        message: expect.stringMatching(
          new RegExp(
            String.raw`^Out of memory on \S+: 4\.0 MiB were asked for, ${used} are in use \(peak [\d.]+ MiB, cached [\d.]+ MiB\) of a limit of ${allowed}`,
          ),
        ),
      }),
    )
    const small = Tensor.from([3], [1], { device })
    expect(await small.item()).toBe(3)
    held.dispose()
    const again = Tensor.zeros([1024, 1024], { device })
    for (const tensor of [again, small]) tensor.dispose()
  })

  test('an absurd size is refused with a sentence', () => {
    expect(() => Tensor.empty([2 ** 20, 2 ** 20, 1024], { device })).toThrow(/^Out of memory/)
    expect(() => Tensor.empty([2 ** 40, 2 ** 40], { device })).toThrow(/cannot have the shape \[\d+, \d+\]/)
    expect(() => Tensor.empty([3, -1], { device })).toThrow(/cannot have the shape \[3, -1\]/)
  })

  test.each(['forward', 'backward'])('in a %s pass, everything is freed and training goes on', async (where) => {
    using model = await makeModel()
    model.addAdapter('a', mora({ rank: 2 }))
    const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
    await takeStep(model, optimizer, 40)
    const rest = liveBytes(device)
    const losses: number[] = []
    for (let allowed = 0; allowed < 12; allowed++) {
      const base = device.memory().inUse
      if (where === 'forward') device.setMemoryLimit(base + allowed * 4096)
      let loss: Tensor | null = null
      const failed = await (async () => {
        loss = model.loss(batchOf([row(40)])).loss
        if (where === 'backward') device.setMemoryLimit(device.memory().inUse + allowed * 2048)
        await loss.backward()
      })().then(
        () => null,
        (error: { code: string }) => error.code,
      )
      if (allowed < 2) expect(failed).toBe('out-of-memory')
      ;(loss as Tensor | null)?.dispose()
      optimizer.zeroGrad()
      await device.synchronize()
      expect(liveBytes(device), `bytes in use with ${allowed} allowed`).toBe(rest)
      device.setMemoryLimit(limit)
      losses.push(await takeStep(model, optimizer, 40))
    }
    expect(losses.every(Number.isFinite)).toBe(true)
    expect(losses.at(-1)!).toBeLessThan(losses[0]!)
    optimizer.dispose()
  })
})

test('trimming frees cached memory and keeps memory in use', async () => {
  const kept = Tensor.from(
    Float32Array.from({ length: 1 << 20 }, (_, i) => i),
    [1 << 20],
    { device },
  )
  Tensor.zeros([1 << 24], { device }).dispose()
  await device.synchronize()
  expect(device.memory().cached).toBeGreaterThanOrEqual(2 ** 26)
  device.trim()
  await device.synchronize()
  // A GPU's memory is freed in whole segments, and the memory in use is in one of 32 MiB.
  expect(device.memory().cached).toBeLessThanOrEqual(device.kind === 'cpu' ? 0 : 2 ** 25)
  const values = await kept.data()
  expect([values[0], values[12345], values.at(-1)]).toEqual([0, 12345, (1 << 20) - 1])
  kept.dispose()
})
