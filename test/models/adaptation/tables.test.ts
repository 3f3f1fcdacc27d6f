/** Adapters beside the output head and the embeddings' table. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { newAdapterConfig } from '../../../lib/adapters/new-adapter.js'
import { mergeModel } from '../../../lib/models/index.js'
import type { Model } from '../../../lib/models/model.js'
import { ADAPTER_METHODS, type AdapterMethodName, newAdapterOptions } from '../../../lib/options/index.js'
import { Tensor } from '../../../lib/tensor/tensor.js'
import { train as trainRun } from '../../../lib/train/train.js'
import { drawnIfEmulated } from '../../drawn.js'
import { goldenPath, largestDifference, readTensors } from '../../golden/files.js'
import { batchOf, expectedOf, loadTiny, logProbsOf, takeSteps } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const { sequences, logprobs } = expectedOf('tiny-untied')
const [sequence, rows] = [sequences.slice(0, 1), sequences.slice(1).map((input_ids) => ({ input_ids }))]
const temporary = useTemporaryFolder()

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const configOf = (method: AdapterMethodName, targetModules: string[], more: object = {}) =>
  newAdapterConfig(method, newAdapterOptions({ method, rank: 3, targetModules, ...more }))
const logProbs = async (model: Model) => (await logProbsOf(model, sequence))[0]!
const train = (model: Model, steps = 3) => takeSteps(model, batchOf(rows), 5e-3, steps)
const lossOf = async (model: Model): Promise<number> => {
  const { loss } = model.loss(batchOf(rows))
  const value = await loss.item()
  loss.dispose()
  return value
}

/** Derivatives of the loss by finite differences, at some values of each parameter. */
async function checkGradients(model: Model): Promise<void> {
  const { loss } = model.loss(batchOf(rows))
  await loss.backward()
  loss.dispose()
  for (const { name, parameter } of model.trainableParameters()) {
    const gradient = await parameter.grad!.data()
    const values = await parameter.data()
    const largest = Math.max(...gradient.map(Math.abs))
    const at = gradient.findIndex((value) => Math.abs(value) === largest)
    const side = async (distance: number): Promise<number> => {
      parameter.assign(values.with(at, values[at]! + distance))
      return lossOf(model)
    }
    // Far enough for the loss to change by much more than its rounding.
    const distance = Math.min(1, 0.125 / largest)
    const wanted = ((await side(distance)) - (await side(-distance))) / (2 * distance)
    parameter.assign(values)
    parameter.zeroGrad()
    expect(Math.abs(gradient[at]! / wanted - 1), `${name}[${at}]: ${gradient[at]} and ${wanted}`).toBeLessThan(2e-2)
  }
}

const onTheHead = ADAPTER_METHODS.filter((method) => method !== 'dora')
describe.each(drawnIfEmulated('methods on the head', onTheHead, 4))('%s on the head', (method) => {
  test('trains with correct gradients, and computes the same merged', async () => {
    using model = await loadTiny('tiny-untied')
    // VeRA's two vectors change little where the rank is low.
    await model.addAdapter('a', configOf(method, ['lm_head'], method === 'vera' ? { rank: 24 } : {}))
    expect(largestDifference(await logProbs(model), logprobs[0]!)).toBeLessThan(5e-5)
    await train(model)
    await checkGradients(model)
    const active = await logProbs(model)
    expect(largestDifference(active, logprobs[0]!)).toBeGreaterThan(1e-3)
    await model.mergeAdapter('a')
    expect(largestDifference(await logProbs(model), active)).toBeLessThan(5e-5)
    await model.unmergeAdapter('a')
    expect(await logProbs(model)).toEqual(active)
  })
})

test('inspecting the tables makes no tensors, and finding untrained tokens leaves none', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', configOf('lora', ['embed_tokens', 'lm_head']))
  const [vocabularySize, hiddenSize] = model.embeddings.shape as [number, number]
  const row = 5
  {
    using zeros = Tensor.zeros([1, hiddenSize], { device: model.device })
    using rowOfTable = model.embeddings.rows(row, row + 1)
    rowOfTable.copyFrom(zeros)
  }
  const before = liveBytes(model.device)
  expect(model.embeddings).toBe(model.slot('model.embed_tokens.weight').current.floats)
  expect(model.head).toBe(model.slot('lm_head.weight').current.floats)
  expect(liveBytes(model.device)).toBe(before)
  expect(await model.untrainedTokens([row, row + 1, vocabularySize - 1])).toEqual([row])
  expect(liveBytes(model.device)).toBe(before)
})

describe('sharing on the head', () => {
  test.each(['sharing', 'sharing-grouped'] as const)('%s trains with correct gradients', async (operator) => {
    using model = await loadTiny('tiny-untied')
    await model.addAdapter('a', configOf('mora', ['lm_head'], { operator }))
    await train(model)
    await checkGradients(model)
  })
})

describe.each(drawnIfEmulated('methods on the embeddings', ['lora', 'rslora'] as const, 1))(
  '%s on the embeddings',
  (method) => {
    test("trains with correct gradients beside a block's layers, and is saved as by PEFT", async () => {
      using model = await loadTiny('tiny-untied')
      await model.addAdapter('a', configOf(method, ['embed_tokens', 'lm_head', 'q_proj']))
      expect(largestDifference(await logProbs(model), logprobs[0]!)).toBeLessThan(5e-5)
      await train(model)
      await checkGradients(model)
      const active = await logProbs(model)
      await model.saveAdapter('a', temporary())
      const stored = readTensors(join(temporary(), 'adapter_model.safetensors'))
      const [vocabulary, hidden] = model.slot('model.embed_tokens.weight').own.shape
      const table = 'base_model.model.model.embed_tokens'
      expect(stored.get(`${table}.lora_embedding_A`)!.shape).toEqual([3, vocabulary])
      expect(stored.get(`${table}.lora_embedding_B`)!.shape).toEqual([hidden, 3])
      const { target_modules: targets } = JSON.parse(readFileSync(join(temporary(), 'adapter_config.json'), 'utf8'))
      expect(targets).toEqual(['embed_tokens', 'lm_head', 'q_proj'])

      using again = await loadTiny('tiny-untied')
      await again.loadAdapter(temporary(), 'a')
      expect(await logProbs(again)).toEqual(active)
      await again.mergeAdapter('a')
      expect(largestDifference(await logProbs(again), active)).toBeLessThan(5e-5)
      await again.unmergeAdapter('a')
      expect(await logProbs(again)).toEqual(active)
    })

    test('is merged on disk, too', async () => {
      using model = await loadTiny('tiny-untied')
      await model.addAdapter('a', configOf(method, ['embed_tokens', 'lm_head']))
      await train(model)
      const folder = temporary()
      await model.saveAdapter('a', join(folder, 'adapter'))
      const { merged } = await mergeModel({
        model: goldenPath('tiny-untied/model'),
        adapter: join(folder, 'adapter'),
        output: join(folder, 'merged'),
        dtype: 'float32',
        device: process.env.MORA_TEST_DEVICE ?? 'cpu',
      })
      expect(merged).toBe(2)
      await model.mergeAdapter('a')
      const weights = readTensors(join(folder, 'merged', 'model.safetensors'))
      for (const name of ['model.embed_tokens.weight', 'lm_head.weight']) {
        const own = await model.slot(name).own.data()
        expect(largestDifference(weights.get(name)!.values, own)).toBeLessThan(1e-6)
      }
    })
  },
)

test('dora trains the head: merged it computes the same', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', configOf('dora', ['lm_head']))
  const before = await lossOf(model)
  await train(model)
  expect(await lossOf(model)).toBeLessThan(before)
  const active = await logProbs(model)
  await model.mergeAdapter('a')
  expect(largestDifference(await logProbs(model), active)).toBeLessThan(5e-5)
})

test('bfloat16 keeps what the adapter adds to the head', async () => {
  using model = await loadTiny('tiny-untied', 'bfloat16')
  await model.addAdapter('a', configOf('lora', ['lm_head']))
  const before = await lossOf(model)
  await takeSteps(model, batchOf(rows), 1e-3, 4)
  expect(await lossOf(model)).toBeLessThan(before)
})

test('all-linear includes neither', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', newAdapterConfig('lora', newAdapterOptions({ method: 'lora' })))
  expect(model.trainableParameters().some(({ name }) => /lm_head|embed_tokens/.test(name))).toBe(false)
})

test('an adapter of the tables with dropout, which only applies in training, can be used', async () => {
  const folder = join(temporary(), 'adapter')
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', configOf('lora', ['embed_tokens', 'lm_head', 'q_proj']))
  await train(model)
  await model.saveAdapter('a', folder)
  const path = join(folder, 'adapter_config.json')
  const config = { ...JSON.parse(readFileSync(path, 'utf8')), lora_dropout: 0.05 }
  writeFileSync(path, JSON.stringify(config))
  using again = await loadTiny('tiny-untied')
  expect(await again.loadAdapter(folder, 'a')).toMatchObject({ dropout: 0.05 })
  expect(await logProbs(again)).toEqual(await logProbs(model))
  await Promise.all([model, again].map((one) => one.mergeAdapter('a')))
  expect(await logProbs(again)).toEqual(await logProbs(model))
  await again.unmergeAdapter('a')
  const data = rows.map(({ input_ids }) => ({ input_ids }))
  await expect(trainRun(again, { data, output: join(temporary(), 'run'), maxSteps: 1 }).finished).rejects.toThrow(
    /An adapter of (lm_head|model\.embed_tokens) is trained without dropout: .*give dropout 0 \(of an adapter that exists,/,
  )
})

test('unsupported combinations are refused by name', async () => {
  using model = await loadTiny('tiny-untied')
  using tied = await loadTiny('tiny-tied-llama3-rope')
  for (const method of ADAPTER_METHODS) {
    if (method === 'lora' || method === 'rslora') continue
    expect(() => model.addAdapter('a', configOf(method, ['embed_tokens']))).toThrow(
      `Method ${method} has no form for the embeddings (model.embed_tokens)`,
    )
  }
  expect(() => model.addAdapter('a', configOf('lora', ['lm_head'], { dropout: 0.5 }))).toThrow('without dropout')
  expect(() => tied.addAdapter('a', configOf('lora', ['lm_head']))).toThrow('lm_head is tied')
})
