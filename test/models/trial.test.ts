/** Before the first step, a trial with one block of each kind checks the device, so that not every weight is read. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { initModel, loadModel, type Model } from '../../lib/models/index.js'
import type { TrainInput } from '../../lib/options/index.js'
import { train } from '../../lib/train/index.js'
import { goldenJson } from '../golden/files.js'
import { quickFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const folder = quickFolder()
const kind = process.env.MORA_TEST_DEVICE ?? 'cpu'
const file = (name: string) => join(folder, name)

beforeAll(async () => {
  const { torch_dtype: _, ...tiny } = goldenJson<Record<string, unknown>>('tiny-untied/model/config.json')
  const sizes = { hidden_size: 256, intermediate_size: 512, head_dim: 64, num_hidden_layers: 8 }
  writeFileSync(file('config.json'), JSON.stringify({ ...tiny, ...sizes }))
  writeFileSync(file('rows.jsonl'), '{"input_ids": [3, 17, 250, 9]}\n')
  using model = await initModel(file('config.json'), { device: kind, dtype: 'float32' })
  await model.save(file('mixed.gguf'), { dtype: 'q4_k_m' })
  await model.save(file('even.gguf'), { dtype: 'q8_0' })
})
afterAll(() => {
  rmSync(folder, { recursive: true })
  expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0)
})

/** How often a run of one step uses the layers of each block; one of these uses is the step's. */
async function usesOfBlocks(name: string, options: Partial<TrainInput>): Promise<number[]> {
  using model: Model = await loadModel(file(name), { device: kind, dtype: 'float32', quantised: true })
  const perBlock = model.linears().length / 8
  const uses = model.linears().map(() => 0)
  for (const [i, linear] of model.linears().entries()) {
    linear.observer = () => {
      uses[i]!++
    }
  }
  await train(model, { data: file('rows.jsonl'), method: 'lora', rank: 2, maxSteps: 1, ...options }).finished
  const blocks = Array.from({ length: 8 }, (_, i) => new Set(uses.slice(i * perBlock, (i + 1) * perBlock)))
  expect(blocks.every(({ size }) => size === 1)).toBe(true)
  return blocks.map(([count]) => count!)
}

test('one of several equal blocks', async () => {
  expect(await usesOfBlocks('even.gguf', {})).toEqual([2, 1, 1, 1, 1, 1, 1, 1])
})

test('one block of each format', async () => {
  // Values and ways down of blocks 0, 3, 6 and 7 have more bits.
  expect(await usesOfBlocks('mixed.gguf', {})).toEqual([2, 2, 1, 1, 1, 1, 1, 1])
})

test('the same with gradient checkpointing, which runs each twice', async () => {
  expect(await usesOfBlocks('mixed.gguf', { gradientCheckpointing: true })).toEqual([4, 4, 2, 2, 2, 2, 2, 2])
})

test('one block with and one without an adapter, before and after the first adapted one', async () => {
  expect(await usesOfBlocks('even.gguf', { targetModules: ['layers.2.mlp.down_proj'] })).toEqual([
    2, 1, 2, 2, 1, 1, 1, 1,
  ])
})

test('one block for each rank of adapters', async () => {
  expect(await usesOfBlocks('even.gguf', { rankPattern: { 'layers\\.[56]\\.mlp\\.down_proj': 3 } })).toEqual([
    2, 1, 1, 1, 1, 2, 1, 1,
  ])
})
