/** Floats that are quantised while loading, against a model with the quantised weights' values. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { QUANTISE_FORMATS, type QuantiseFormat } from '../../../lib/models/formats.js'
import { exportAdapter, initModel, loadModel, mergeModel } from '../../../lib/models/index.js'
import { Weights } from '../../../lib/models/load/weights.js'
import { Model } from '../../../lib/models/model.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import { native } from '../../../lib/native/addon.js'
import { train } from '../../../lib/train/train.js'
import { drawn } from '../../drawn.js'
import { goldenJson, goldenPath, largestDifference, readTensors } from '../../golden/files.js'
import { batchOf, logProbsOf, takeSteps } from '../../golden/tiny-models.js'
import { quickFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const device = testDevice()
const kind = process.env.MORA_TEST_DEVICE ?? 'cpu'
const folder = quickFolder()
const rows = [
  [3, 17, 250, 9, 44, 8, 120, 7],
  [5, 6, 7, 8, 9, 10, 11, 12, 13],
].map((input_ids) => ({ input_ids }))
const sequences = rows.map(({ input_ids }) => input_ids)

/** Rows of 256 and 512 values; and of 172, which fill no block but NF4's. */
const configs = {
  wide: { hidden_size: 256, intermediate_size: 512, head_dim: 64 },
  narrow: { hidden_size: 64, intermediate_size: 172 },
}
type Name = keyof typeof configs
const folderOf = (name: Name) => join(folder, name)

beforeAll(async () => {
  const { torch_dtype: _, ...config } = goldenJson<Record<string, unknown>>('tiny-untied/model/config.json')
  for (const [name, sizes] of Object.entries(configs)) {
    const path = join(folder, `${name}.json`)
    writeFileSync(path, JSON.stringify({ ...config, ...sizes, num_hidden_layers: 2, initializer_range: 0.08 }))
    using model = await initModel(path, { device: kind, dtype: 'float32', seed: 3 })
    await model.save(folderOf(name as Name), { dtype: 'bfloat16' })
  }
})
afterAll(() => rmSync(folder, { recursive: true }))
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const load = (name: Name, quantise?: QuantiseFormat) =>
  loadModel(folderOf(name), { device: kind, dtype: 'float32', threads: 2, quantise })

/** The same with the quantised weights' values in floats. */
async function withValues(name: Name, format: QuantiseFormat): Promise<Model> {
  const source = (await ModelSource.open(folderOf(name))).quantisedTo(format)
  return new Model({ tokenizer: null, weights: new Weights(source, device, 'float32'), source })
}

async function trained(model: Model): Promise<{ logProbs: number[][]; gradients: Float32Array[] }> {
  model.addAdapter('a', lora({ rank: 2 }), { seed: 5 })
  await takeSteps(model, batchOf(rows), 1e-2, 20)
  const { loss } = model.loss(batchOf(rows))
  await loss.backward()
  const parameters = model.trainableParameters().map(({ parameter }) => parameter)
  const gradients = await Promise.all(parameters.map(({ grad }) => grad!.data() as Promise<Float32Array>))
  loss.dispose()
  return { logProbs: await logProbsOf(model, sequences), gradients }
}

describe.each(drawn('formats of models on load', QUANTISE_FORMATS, 2))('%s', (format) => {
  test("matrices of the blocks are quantised, and all else has the file's values", async () => {
    using floats = await load('wide')
    using model = await load('wide', format)
    const linears = new Set(model.linears().map(({ name }) => `${name}.weight`))
    for (const { name, own } of model.slots) {
      expect(own.storage, name).toBe(linears.has(name) ? format : 'float32')
      const values = await own.data()
      const stored = await floats.slot(name).own.data()
      const most = stored.reduce((sum, value) => Math.max(sum, Math.abs(value)), 0)
      expect(largestDifference(values, stored), name).toBeLessThan(linears.has(name) ? 0.27 * most : 1e-30)
    }
    expect(model.quantised).toMatchObject({ format, kept: true, onLoad: true })
    expect(model.quantised!.saved).toBeGreaterThan(2 * 2 ** 20)
  })

  test('20 steps beside them equal those beside their values', async () => {
    using values = await withValues('wide', format)
    const wanted = await trained(values)
    using model = await load('wide', format)
    const got = await trained(model)
    expect(largestDifference(got.logProbs.flat(), wanted.logProbs.flat())).toBeLessThan(5e-5)
    for (const [i, gradient] of got.gradients.entries()) {
      const expected = wanted.gradients[i]!
      const size = Math.hypot(...expected)
      expect(Math.hypot(...gradient.map((value, j) => value - expected[j]!))).toBeLessThan(1e-3 * size + 1e-6)
    }
    using floats = await load('wide')
    expect(largestDifference((await trained(floats)).logProbs.flat(), wanted.logProbs.flat())).toBeGreaterThan(3e-4)
  })

  test('a GGUF file of the same floats, with its rows in another order, gives the same', async () => {
    const path = join(folder, 'wide.gguf')
    using floats = await load('wide')
    await floats.save(path, { dtype: 'bfloat16', overwrite: true })
    using fromGguf = await loadModel(path, { device: kind, dtype: 'float32', quantise: format })
    using fromFolder = await load('wide', format)
    for (const { name } of fromFolder.linears()) {
      const slot = `${name}.weight`
      const [got, wanted] = [await fromGguf.slot(slot).own.data(), await fromFolder.slot(slot).own.data()]
      expect(largestDifference(got, wanted), name).toBe(0)
    }
  })

  test('an adapter of it is refused beside the floats, and merged into what it was trained on', async () => {
    const adapter = join(folder, `adapter-${format}`)
    let wanted: number[][]
    {
      using model = await load('wide', format)
      model.addAdapter('a', mora({ rank: 2 }), { seed: 5 })
      await takeSteps(model, batchOf(rows), 1e-2, 3)
      await model.saveAdapter('a', adapter)
      wanted = await logProbsOf(model, sequences)
      const saved = join(folder, `saved-${format}`)
      await model.save(saved, { dtype: 'float32', mergeActive: true })
      using whole = await loadModel(saved, { device: kind, dtype: 'float32' })
      expect(largestDifference((await logProbsOf(whole, sequences)).flat(), wanted.flat())).toBeLessThan(2e-4)
    }
    const other = expect.objectContaining({ code: 'other-base', message: expect.stringContaining(format) })
    using floats = await load('wide')
    await expect(floats.loadAdapter(adapter)).rejects.toThrow(other)
    using otherFormat = await load('wide', format === 'q8_0' ? 'q4_0' : 'q8_0')
    await expect(otherFormat.loadAdapter(adapter)).rejects.toThrow(other)
    const output = join(folder, `merged-${format}`)
    await mergeModel({ model: folderOf('wide'), adapter, output, dtype: 'float32', device: kind })
    using merged = await loadModel(output, { device: kind, dtype: 'float32' })
    expect(largestDifference((await logProbsOf(merged, sequences)).flat(), wanted.flat())).toBeLessThan(2e-4)
  })
})

test('blocks are those of the values in the file, rows below each other in one weight', async () => {
  using model = await load('wide', 'q4_0')
  const stored = readTensors(join(folderOf('wide'), 'model.safetensors'))
  for (const name of ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.up_proj', 'mlp.down_proj']) {
    const slot = `model.layers.1.${name}.weight`
    const { shape, values } = stored.get(slot)!
    const blocks = native.quantise('q4_0', values, shape[1]!, null, 1)
    const tensor = native.fromArray(device, 'q4_0', shape, blocks)
    const target = native.empty(device, 'float32', shape)
    native.dequantise(tensor, target)
    const wanted = (await target.read()) as Float32Array
    expect(largestDifference(await model.slot(slot).own.data(), wanted), name).toBe(0)
    tensor.dispose()
    target.dispose()
  }
})

test('rows that fill no blocks of 256 have shorter ones, and those that fill none stay floats', async () => {
  const storage = async (format: QuantiseFormat) => {
    using model = await load('narrow', format)
    await logProbsOf(model, sequences)
    return ['self_attn.q_proj', 'mlp.down_proj'].map((name) => model.slot(`model.layers.0.${name}.weight`).own.storage)
  }
  expect(await storage('q4_k')).toEqual(['q5_0', 'float32'])
  expect(await storage('q4_0')).toEqual(['q4_0', 'float32'])
  expect(await storage('nf4')).toEqual(['nf4', 'nf4'])
})

test('weights that are stored transposed are quantised as they are multiplied', async () => {
  const gpt2 = goldenPath('families/gpt2')
  using values = await loadModel(gpt2, { device: kind, dtype: 'float32' })
  using model = await loadModel(gpt2, { device: kind, dtype: 'float32', quantise: 'q8_0' })
  for (const { name } of model.linears()) {
    const slot = `${name}.weight`
    const [got, wanted] = [await model.slot(slot).own.data(), await values.slot(slot).own.data()]
    const most = wanted.reduce((sum, value) => Math.max(sum, Math.abs(value)), 0)
    expect(largestDifference(got, wanted), name).toBeLessThan(0.005 * most)
  }
})

test('memory never holds the model in floats', async () => {
  await device.synchronize()
  const before = liveBytes(device)
  device.resetPeak()
  using model = await load('wide', 'q4_0')
  const { peak } = device.memory()
  const floats = [...model.base.weights.values()].reduce((sum, shape) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0)
  const embeddings = 2 * 4 * 384 * 256
  expect(peak - before).toBeLessThan(embeddings + 0.25 * (floats - embeddings))
})

test('unsupported combinations are refused by name', async () => {
  const refused = (code: string, text: string) =>
    expect.objectContaining({ code, exitCode: 2, message: expect.stringContaining(text) })
  const options = { device: kind, quantise: 'q4_0' as const }
  const blocks = join(folder, 'blocks.gguf')
  using floats = await load('wide')
  await floats.save(blocks, { dtype: 'q8_0' })
  await expect(loadModel(blocks, options)).rejects.toThrow(refused('quantised-weights', 'quantised already, as q8_0'))
  await expect(loadModel(folderOf('wide'), { ...options, quantised: false })).rejects.toThrow(
    refused('unfit-options', 'quantise q4_0 does not go with quantised turned off'),
  )
  const config = join(folder, 'wide.json')
  await expect(initModel(config, options)).rejects.toThrow(refused('unfit-options', 'random ones'))
  const unknown = { ...options, quantise: 'q3_k' as QuantiseFormat }
  await expect(loadModel(folderOf('wide'), unknown)).rejects.toThrow(/nf4, q8_0, q4_0, q4_k.*mxfp4/)
  using model = await load('wide', 'q4_0')
  const data = [{ prompt: 'a', completion: 'b' }]
  const full = async () => await (await train(model, { data, method: 'full', maxSteps: 1 })).finished
  await expect(full()).rejects.toThrow(refused('quantised-weights', 'leave the option quantise out'))
  const other = async () => await (await train(model, { data, quantise: 'nf4' })).finished
  await expect(other()).rejects.toThrow(refused('unfit-options', 'quantise is nf4, but the model was loaded with q4_0'))
})

test('a signal that is aborted ends it, and nothing is left', async () => {
  const before = liveBytes(device)
  const controller = new AbortController()
  const loading = loadModel(folderOf('wide'), { device: kind, quantise: 'q4_k', signal: controller.signal })
  setImmediate(() => setImmediate(() => controller.abort(new Error('enough'))))
  await expect(loading).rejects.toThrow('enough')
  expect(liveBytes(device)).toBe(before)
})

test('an adapter is exported beside the quantised base that it was trained on', async () => {
  const adapter = join(folder, 'adapter-nf4')
  const output = join(folder, 'exported')
  const one = join(folder, 'lora')
  using model = await load('wide', 'nf4')
  model.addAdapter('l', lora({ rank: 2 }))
  await model.saveAdapter('l', one)
  const result = await exportAdapter({ model: folderOf('wide'), adapter: one, output, format: 'peft' })
  expect(result.exact, adapter).toBe(true)
})
