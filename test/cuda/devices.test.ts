/** Behaviour of GPUs only: a backend that may be absent, several devices in one process, memory of their own. */
import { afterAll, describe, expect, test } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { doctor } from '../../lib/doctor.js'
import { initModel } from '../../lib/models/load-model.js'
import { type FloatDType, native } from '../../lib/native/addon.js'
import { AdamW } from '../../lib/optim/adamw.js'
import { openDevice } from '../../lib/tensor/device.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { batchOf } from '../golden/tiny-models.js'
import { fileOf, useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { lack, needing } from '../needs.js'
import { tinyLlama } from './tiny-llama.js'

const temporary = useTemporaryFolder()

/** Mean losses of a few steps of training, on a device. */
async function train(device: string, steps: number, dtype: FloatDType = 'float32'): Promise<number[]> {
  const path = fileOf(temporary(), 'config.json', JSON.stringify(tinyLlama))
  using model = await initModel(path, { device, dtype, seed: 3 })
  model.addAdapter('a', mora({ rank: 2, operator: 'rotation' }))
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  const losses: number[] = []
  for (let step = 0; step < steps; step++) {
    const rows = [17, 5, 9].map((length) => ({ input_ids: Array.from({ length }, (_, i) => (3 * i + step) % 50) }))
    const { loss, targetTokens } = model.loss(batchOf(rows))
    await loss.backward()
    optimizer.step({ learningRate: 5e-3, scaleGradients: 1 / targetTokens, maxGradNorm: 1 }).dispose()
    losses.push((await loss.item()) / targetTokens)
    loss.dispose()
  }
  optimizer.dispose()
  return losses
}

const largestDifference = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)))

describe('devices', () => {
  test('are listed by the doctor, with what they can do', () => {
    const found = doctor().devices.filter(({ kind }) => kind === 'cuda')
    expect(found.length).toBe(native.deviceCount('cuda'))
    expect(found[0]).toMatchObject({
      index: 0,
      fastBfloat16: true,
      detail: expect.stringMatching(/capability .*cuBLAS/),
    })
  })

  test('are chosen by auto', () => {
    expect(openDevice().kind).toBe('cuda')
  })

  test('that do not exist are refused by number', () => {
    const count = native.deviceCount('cuda')
    expect(() => openDevice({ device: `cuda:${count}` })).toThrow(`cuda:${count} does not exist`)
  })

  needing(lack('two GPUs', native.deviceCount('cuda') >= 2)).test(
    'work side by side, and do not take each other’s tensors',
    async () => {
      const [first, second] = [openDevice({ device: 'cuda:0' }), openDevice({ device: 'cuda:1' })]
      const before = liveBytes(first)
      const there = Tensor.zeros([1000], { device: second })
      expect(liveBytes(first)).toBe(before)
      const here = Tensor.zeros([1000], { device: first })
      expect(() => native.add(here.native, there.native, 1)).toThrow(/on cuda:0 .*on cuda:1/)
      for (const tensor of [here, there]) tensor.dispose()
      const [a, b] = await Promise.all([train('cuda:0', 3), train('cuda:1', 3)])
      expect(a).toEqual(b)
    },
  )
})

describe('training', () => {
  test('takes the steps that the CPU takes', async () => {
    const [cpu, cuda] = [await train('cpu', 6), await train('cuda', 6)]
    expect(cpu.at(-1)!).toBeLessThan(cpu[0]!)
    // Losses near 4 in float32; AdamW's first steps magnify the last bits of small gradients.
    expect(largestDifference(cpu, cuda)).toBeLessThan(2e-4)
  })

  // 8 bits of a loss near 4, and 11.
  test.each([
    ['cpu', 'bfloat16', 0.05],
    ['cuda', 'bfloat16', 0.05],
    ['cpu', 'float16', 0.05 / 8],
    ['cuda', 'float16', 0.05 / 8],
  ] as const)('on %s in %s stays near float32', async (device, dtype, allowed) => {
    expect(largestDifference(await train(device, 6), await train(device, 6, dtype))).toBeLessThan(allowed)
  })

  test('twice gives the same bits', async () => {
    expect(await train('cuda', 3)).toEqual(await train('cuda', 3))
  })

  test('counts the working space of operations and of cuBLAS as in use', async () => {
    const device = openDevice({ device: 'cuda' })
    await train('cuda', 1)
    device.resetPeak()
    const { inUse, peak, working } = device.memory()
    expect(working).toBeGreaterThan(32 * 2 ** 20) // cuBLAS's workspace, and scratch memory
    expect([inUse, peak]).toEqual([working, working])
    device.trim()
    await device.synchronize()
    expect(device.memory()).toMatchObject({ inUse: 32 * 2 ** 20, working: 32 * 2 ** 20, cached: 0 })
  })

  const many = process.env.MORA_TEST_LONG ? 200 : 40
  test(`holds no more memory after ${many} steps than after ten`, async () => {
    const device = openDevice({ device: 'cuda' })
    await train('cuda', 10)
    const { inUse, cached } = device.memory()
    await train('cuda', many)
    expect(device.memory()).toMatchObject({ inUse, cached })
  })
})

afterAll(() => expect(liveBytes(openDevice({ device: 'cuda' })), 'bytes in use at the end').toBe(0))
