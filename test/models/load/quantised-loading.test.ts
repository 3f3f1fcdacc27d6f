/** When quantised weights stay as stored, and options that are refused beside them. */
import { afterAll, describe, expect, test, vi } from 'vitest'
import { loadModel, loadModelFor } from '../../../lib/models/index.js'
import type { Model } from '../../../lib/models/model.js'
import { train } from '../../../lib/train/index.js'
import { goldenPath } from '../../golden/files.js'
import { loadTiny } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const free = vi.hoisted(() => vi.fn<(device: unknown) => number>())
vi.mock('../../../lib/tensor/memory-budget.js', async (original) => {
  const room = await original<typeof import('../../../lib/tensor/memory-budget.js')>()
  free.mockImplementation(room.freeMemory as (device: unknown) => number)
  return { ...room, freeMemory: free }
})

const at = useTemporaryFolder()
const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const codes = goldenPath('quantised/bnb-fp4')
const place = { device: device.kind as 'cpu' | 'cuda', threads: 2, dtype: 'float32' } as const
const rows = [{ input_ids: [1, 2, 3, 4, 5, 6] }, { input_ids: [7, 8, 9] }]

async function blocks(): Promise<string> {
  using model = await loadTiny('tiny-untied')
  const path = `${at()}/model.gguf`
  await model.save(path, { dtype: 'q8_0', overwrite: true })
  return path
}

test('weights become floats unless they are to stay', async () => {
  for (const path of [codes, await blocks()]) {
    using floats = await loadModel(path, place)
    using kept = await loadModel(path, { ...place, quantised: true })
    expect(floats.quantised).toMatchObject({ format: path === codes ? 'fp4' : 'q8_0', kept: false })
    expect(kept.quantised).toEqual({ ...floats.quantised!, kept: true })
    expect(kept.quantised!.saved).toBeGreaterThan(40_000)
  }
  using floats = await loadTiny('tiny-untied')
  expect(floats.quantised).toBeNull()
})

test('text is generated with codes and blocks as stored on a CPU', async () => {
  for (const path of [codes, await blocks()]) {
    using model = await loadModelFor({ passes: 'one token' }, path, place)
    expect(model.quantised!.kept).toBe(device.kind === 'cpu')
  }
  using asked = await loadModelFor({ passes: 'one token' }, await blocks(), { ...place, quantised: false })
  expect(asked.quantised!.kept).toBe(false)
})

test('if their values do not fit the memory, weights stay quantised', async () => {
  for (const room of [2 ** 17, 2 ** 40]) {
    free.mockReturnValueOnce(room)
    using model = await loadModel(codes, place)
    expect(model.quantised!.kept).toBe(room < 2 ** 20)
  }
})

describe('training beside weights that stay', () => {
  const notesOf = async (model: Model) => {
    const notes: string[] = []
    for await (const event of train(model, { data: rows, maxSteps: 1, batchSize: 2, method: 'lora', rank: 2 }))
      if (event.type === 'notice') notes.push(event.message)
    return notes.join(' ')
  }

  test('reports the memory that they save, or would save', async () => {
    using kept = await loadModel(codes, { ...place, quantised: true })
    expect(await notesOf(kept)).toMatch(/The model's weights stay in fp4, and take \d+ KiB less than in float32\./)
    using floats = await loadModel(codes, place)
    expect(await notesOf(floats)).toMatch(
      /stored as fp4; training computes with them in float32; with the option quantised: true they stay as they are, and take \d+ KiB less\. Passes of \d+ tokens would take/,
    )
  })

  test.each([
    [
      { method: 'full' },
      /^The method full trains the weights themselves, but the model's weights are kept in fp4: .* or train an adapter\.$/,
    ],
    [
      { method: 'mora', rank: 2, mergeEvery: 1 },
      /^The option mergeEvery merges into the weights themselves, .* or train without it\.$/,
    ],
    [
      { method: 'lora', rank: 2, quantised: false },
      /^The option quantised is false, but the model was loaded with true/,
    ],
  ] as const)('%j is refused', async (options, message) => {
    using model = await loadModel(codes, { ...place, quantised: true })
    const run = async () => {
      for await (const _ of train(model, { data: rows, maxSteps: 2, batchSize: 2, ...options })) expect.unreachable()
    }
    await expect(run()).rejects.toThrow(message)
  })
})
