/** Models whose weights stay in the block formats of their GGUF file, against the same models with the blocks' values. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { newAdapterConfig } from '../../../lib/adapters/new-adapter.js'
import { generate } from '../../../lib/generate/index.js'
import { initModel, loadModel } from '../../../lib/models/index.js'
import { Weights } from '../../../lib/models/load/weights.js'
import { Model } from '../../../lib/models/model.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import { type DType, type FloatDType, isBlockDType } from '../../../lib/native/addon.js'
import { ADAPTER_METHODS, newAdapterOptions } from '../../../lib/options/index.js'
import { largestDifference } from '../../golden/files.js'
import { batchOf, expectedOf, loadTiny, logProbsOf, takeSteps } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { lack, lacksCpu, needing } from '../../needs.js'
import { testDevice } from '../../operations/harness.js'

const at = useTemporaryFolder()
const device = testDevice()
const onCpu = device.kind === 'cpu'
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

/** Rows of 64 values are blocks of Q8_0, those of 172 are not. */
const models = {
  'an untied head': () => loadTiny('tiny-untied'),
  'a tied head': async () => {
    using base = await loadTiny('tiny-untied')
    const config = join(at(), 'config.json')
    writeFileSync(config, JSON.stringify({ ...base.config.json, tie_word_embeddings: true, initializer_range: 0.2 }))
    return await initModel(config, { device: device.kind as 'cpu' | 'cuda', dtype: 'float32', seed: 3 })
  },
}

async function asQ8(name: keyof typeof models): Promise<string> {
  using model = await models[name]()
  const path = join(at(), 'model.gguf')
  await model.save(path, { dtype: 'q8_0' })
  return path
}

const load = (path: string, quantised: boolean, dtype: FloatDType = 'float32') =>
  loadModel(path, { device: device.kind as 'cpu' | 'cuda', threads: 2, dtype, quantised })

const rootMeanSquare = (values: readonly number[]) =>
  Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length)
const blocksIn = (model: Model) => model.slots.filter(({ own }) => isBlockDType(own.storage as DType)).length

needing(lacksCpu).describe.each(Object.keys(models) as (keyof typeof models)[])('a model in Q8_0 with %s', (name) => {
  const { sequences } = expectedOf('tiny-untied')

  /** Logits after each token: the first ids are read at once, the others one by one. */
  async function logits(model: Model): Promise<number[][]> {
    const ids = sequences[0]!
    using cache = model.createCache(ids.length)
    const rows = [[...(await model.nextLogits(ids.slice(0, 9), cache))]]
    for (const id of ids.slice(9)) rows.push([...(await model.nextLogits([id], cache))])
    return rows
  }

  test("has the log-probabilities and the tokens of its blocks' values", async () => {
    const path = await asQ8(name)
    using floats = await load(path, false)
    const taken = liveBytes(device)
    using blocks = await load(path, true)
    expect(blocksIn(floats)).toBe(0)
    expect(blocksIn(blocks)).toBe(blocks.slots.filter(({ own: { shape } }) => shape[1] === 64).length)
    // float32 is 3.76 times as large as Q8_0, but not all weights are in blocks.
    expect(liveBytes(device) - taken, 'bytes of the model in blocks').toBeLessThan(taken / 2)

    const wanted = await logProbsOf(floats, sequences)
    const got = await logProbsOf(blocks, sequences)
    for (const [i, values] of got.entries()) expect(largestDifference(values, wanted[i]!)).toBeLessThan(2e-4)
    expect(await logits(blocks), 'the same bits again').toEqual(await logits(blocks))
  })

  test('one token at a time, activations lose far less than bfloat16 would cost', async () => {
    const path = await asQ8(name)
    const read = async (quantised: boolean, dtype: FloatDType) => {
      using model = await load(path, quantised, dtype)
      return (await logits(model)).flat()
    }
    const exact = await read(false, 'float32')
    const apart = (values: number[]) => rootMeanSquare(values.map((value, i) => value - exact[i]!))
    const rounded = apart(await read(false, 'bfloat16'))
    // Steps are 128 times as fine as those of bfloat16 for the largest of 32 activations, and as coarse for the least.
    expect(apart(await read(true, 'float32'))).toBeLessThan(rounded / 32)
    // Both round activations between layers: chance decides which is nearer.
    expect(apart(await read(true, 'bfloat16'))).toBeLessThan(1.25 * rounded)
  })
})

needing(lacksCpu).describe('adapters beside blocks', () => {
  const { sequences } = expectedOf('tiny-untied')
  const rows = sequences.slice(1).map((input_ids) => ({ input_ids }))

  test.each(ADAPTER_METHODS)('%s computes and trains as beside the values', async (method) => {
    const path = await asQ8('an untied head')
    const results: number[][][] = []
    for (const quantised of [false, true]) {
      using model = await load(path, quantised)
      await model.addAdapter('a', newAdapterConfig(method, newAdapterOptions({ method, rank: 3 })))
      await takeSteps(model, batchOf(rows), 5e-3, 3)
      results.push(await logProbsOf(model, sequences))
    }
    for (const [i, values] of results[1]!.entries())
      expect(largestDifference(values, results[0]![i]!)).toBeLessThan(1e-3)
  })

  test('merging is refused by name; saving writes what the values give', async () => {
    const path = await asQ8('an untied head')
    using blocks = await load(path, true)
    await blocks.addAdapter('a', newAdapterConfig('lora', newAdapterOptions({ method: 'lora', rank: 3 })))
    const refused = expect.objectContaining({ code: 'quantised-weights', exitCode: 2 })
    await expect(blocks.mergeAdapter('a')).rejects.toThrow(refused)
    await expect(blocks.restartAdapter('a')).rejects.toThrow(refused)
    using floats = await load(path, false)
    for (const [name, model] of Object.entries({ blocks, floats })) await model.save(join(at(), name))
    const [one, other] = ['blocks', 'floats'].map((name) => readFileSync(join(at(), name, 'model.safetensors')))
    expect(one!.equals(other!)).toBe(true)
  })

  test('every weight can be trained: blocks become their values', async () => {
    const path = await asQ8('an untied head')
    using blocks = await load(path, true)
    using floats = await load(path, false)
    for (const model of [blocks, floats]) model.trainAll()
    expect(blocksIn(blocks)).toBe(0)
    expect(await logProbsOf(blocks, sequences)).toEqual(await logProbsOf(floats, sequences))
  })
})

needing(lacksCpu).test('layers that read the same input may have different formats', async () => {
  const { sequences } = expectedOf('tiny-untied')
  const source = await ModelSource.open(await asQ8('an untied head'))
  const keptFormat = source.keptFormat.bind(source)
  vi.spyOn(source, 'keptFormat').mockImplementation((name) => (/v_proj|up_proj/.test(name) ? null : keptFormat(name)))
  const weights = new Weights(source, device, 'float32', true)
  using mixed = new Model({ tokenizer: null, weights, source })
  using floats = await load(source.path, false)
  const [got, wanted] = [await logProbsOf(mixed, sequences), await logProbsOf(floats, sequences)]
  for (const [i, values] of got.entries()) expect(largestDifference(values, wanted[i]!)).toBeLessThan(2e-4)
})

needing(lacksCpu).test('generation takes the same words from blocks', async () => {
  const path = await asQ8('an untied head')
  const texts: number[][] = []
  for (const quantised of [false, true]) {
    using model = await load(path, quantised)
    if (!model.tokenizer) return
    texts.push((await generate(model, { prompt: 'a', raw: true, maxNewTokens: 12 })).ids)
  }
  expect(texts[1]).toEqual(texts[0])
})

needing(lack('a device that is no CPU', !onCpu)).test('other devices compute with blocks too', async () => {
  const { sequences } = expectedOf('tiny-untied')
  const path = await asQ8('an untied head')
  using blocks = await load(path, true)
  using floats = await load(path, false)
  expect(blocksIn(blocks)).toBeGreaterThan(0)
  const [got, wanted] = [await logProbsOf(blocks, sequences), await logProbsOf(floats, sequences)]
  for (const [i, values] of got.entries()) expect(largestDifference(values, wanted[i]!)).toBeLessThan(2e-4)
})
