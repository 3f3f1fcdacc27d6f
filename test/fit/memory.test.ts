/** The memory that is counted before a run is the memory that the device then counts in it, and the size of its adapter. */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { countRun } from '../../lib/fit/count.js'
import { countingAddon } from '../../lib/fit/counting-addon.js'
import { initModel, loadModel, type Model } from '../../lib/models/index.js'
import { type Native, native } from '../../lib/native/addon.js'
import { loadBinary, replaceBinary } from '../../lib/native/binary.js'
import type { TrainInput } from '../../lib/options/index.js'
import { openDevice } from '../../lib/tensor/device.js'
import { resolveTrainOptions } from '../../lib/train/setup/resolve-options.js'
import { train } from '../../lib/train/train.js'
import { quickFolder } from '../io/temporary.js'

const DEMO = join(import.meta.dirname, '../../assets/demo-model')
const golden = (name: string) => join(import.meta.dirname, '../golden', name, 'config.json')

const MAX_LENGTH = 48
const ROWS = 4

const folder = quickFolder()
afterAll(() => rmSync(folder, { recursive: true }))

/** Rows as long as allowed, all tokens of which are trained. */
function rowsFor(objective: string | undefined) {
  const ids = Array.from({ length: MAX_LENGTH }, (_, i) => 1 + (i % 7))
  if (objective === 'dpo') return { prompt: [1, 2], chosen: ids, rejected: ids.toReversed() }
  return { input_ids: ids }
}

/** Returns the bytes of the device in a real run: of the loaded model, and the peak of its steps. */
async function seen(options: Partial<TrainInput>): Promise<{ base: number; peak: number; stored: number }> {
  const device = openDevice({ device: 'cpu' })
  const before = device.memory().inUse
  const { model: path, init, dtype, quantise, quantised, ...run } = options
  using model: Model = init
    ? await initModel(init, { device: 'cpu', dtype })
    : await loadModel(path!, { device: 'cpu', dtype, quantise, quantised })
  const base = device.memory().inUse - before
  const data = Array.from({ length: ROWS }, () => rowsFor(run.objective))
  const { peakMemoryBytes } = await train(model, { ...run, data, maxSteps: 2 } as never).finished
  const [name] = model.adapters.keys()
  if (name !== undefined) await model.saveAdapter(name, folder)
  const stored = name === undefined ? 0 : bytesOfTensors(join(folder, 'adapter_model.safetensors'))
  return { base, peak: peakMemoryBytes - before, stored }
}

/** Returns the bytes of the tensors in a safetensors file, which follow a header and its length. */
function bytesOfTensors(path: string): number {
  const file = readFileSync(path)
  return file.length - 8 - Number(file.readBigUInt64LE(0))
}

/** Counts the same run. */
async function counted(options: Partial<TrainInput>) {
  const real = loadBinary()
  const { addon, device } = countingAddon(real as Native, native.openDevice('cpu', 0, 0))
  const settings = resolveTrainOptions({ ...options, device: 'cpu', data: [{ input_ids: [0, 0] }] } as TrainInput)
  replaceBinary(addon)
  try {
    return await countRun({ options: settings, config: null, readsRows: false }, device)
  } finally {
    replaceBinary(real)
  }
}

const run = { maxLength: MAX_LENGTH, batchSize: ROWS, microBatchSize: 2 }
const demo = { ...run, model: DEMO, quantised: false, dtype: 'float32' } as const

for (const [name, options] of Object.entries<Partial<TrainInput>>({
  'MoRA beside float32': demo,
  'LoRA beside bfloat16, in one pass': { ...demo, method: 'lora', dtype: 'bfloat16', microBatchSize: 4 },
  'DoRA beside NF4 with recomputed activations': {
    ...run,
    model: DEMO,
    quantise: 'nf4',
    method: 'dora',
    gradientCheckpointing: true,
  },
  'every weight, averaged moments aside': { ...demo, method: 'full' },
  'LoRA with an average, dropout and a module trained whole': {
    ...demo,
    method: 'lora',
    dropout: 0.1,
    modulesToSave: ['norms'],
  },
  'VeRA with tensors that layers share': { ...demo, method: 'vera' },
  'preferences against the model without its adapter': { ...demo, objective: 'dpo' },
  'a model from scratch': { ...run, init: golden('tiny-untied/model'), method: 'full' },
  'a model of attention with a window and others': { ...run, method: 'lora', init: golden('families/gemma3') },
  'a model of delta nets': {
    ...run,
    method: 'lora',
    init: golden('families2/qwen3_5-text'),
  },
})) {
  test(`the memory of ${name}`, async () => {
    const [was, is] = [await seen(options), await counted(options)]
    expect({ base: is.base, peak: is.peak, stored: is.stored }).toEqual(was)
    expect(is.base + is.adapter + is.optimizer + is.activations).toBeGreaterThanOrEqual(is.peak)
  })
}

test('gradients and two moments of four bytes for each trained value', async () => {
  const { optimizer, trained } = await counted(demo)
  expect(optimizer).toBeGreaterThanOrEqual(12 * trained)
  expect(optimizer).toBeLessThan(12.1 * trained)
})
