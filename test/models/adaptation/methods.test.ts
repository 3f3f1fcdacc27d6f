/**
 * Requirements of every method: a start that changes nothing, its count, merging and unmerging, files, and continued training.
 */
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { AdapterConfigBase } from '../../../lib/adapters/contract/adapter.js'
import type { PissaLayer } from '../../../lib/adapters/methods/pissa.js'
import { newAdapterConfig } from '../../../lib/adapters/new-adapter.js'
import { countAdapterParameters, matchingRank } from '../../../lib/adapters/planning/parameter-count.js'
import { readSafetensorsHeader, writeSafetensors } from '../../../lib/io/safetensors.js'
import type { Model } from '../../../lib/models/model.js'
import { ADAPTER_METHODS, type AdapterMethodName, newAdapterOptions } from '../../../lib/options/index.js'
import { methodsWithOption } from '../../../lib/options/new-adapter.js'
import { drawn } from '../../drawn.js'
import { entriesOf, largestDifference, readTensors } from '../../golden/files.js'
import { batchOf, expectedOf, loadTiny, logProbsOf, takeSteps } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const { sequences, logprobs } = expectedOf('tiny-untied')
const [sequence, rows] = [sequences.slice(0, 1), sequences.slice(1).map((input_ids) => ({ input_ids }))]
const temporary = useTemporaryFolder()

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const configOf = (method: AdapterMethodName, more: object = {}): AdapterConfigBase =>
  newAdapterConfig(method, newAdapterOptions({ method, rank: 3, ...more }))
const weightsOf = (model: Model) => Promise.all(model.linears().map(({ weight }) => weight.data()))
const logProbs = async (model: Model) => (await logProbsOf(model, sequence))[0]!
const train = (model: Model, steps = 3) => takeSteps(model, batchOf(rows), 5e-3, steps)

describe.each(drawn('methods', ADAPTER_METHODS, testDevice().kind === 'cpu' ? 4 : 2))('%s', (method) => {
  test('starts from the model as it is, and trains as many values as it counts', async () => {
    using model = await loadTiny('tiny-untied')
    const config = configOf(method)
    await model.addAdapter('a', config)
    expect(largestDifference(await logProbs(model), logprobs[0]!)).toBeLessThan(5e-5)
    const trained = model.trainableParameters().reduce((sum, { parameter }) => sum + parameter.elements, 0)
    expect(countAdapterParameters(config, model.linears())).toBe(trained)
  })

  test('computes the same merged, and unmerging restores the bits', async () => {
    using model = await loadTiny('tiny-untied')
    const before = await weightsOf(model)
    await model.addAdapter('a', configOf(method))
    await train(model)
    const active = await logProbs(model)
    expect(largestDifference(active, logprobs[0]!)).toBeGreaterThan(1e-3)
    await model.mergeAdapter('a')
    expect(largestDifference(await logProbs(model), active)).toBeLessThan(5e-5)
    await model.unmergeAdapter('a')
    expect(await weightsOf(model)).toEqual(before)
    expect(await logProbs(model)).toEqual(active)
  })

  test('recomputing activations changes no bit, dropout included', async () => {
    using model = await loadTiny('tiny-untied')
    await model.addAdapter('a', configOf(method, { dropout: 0.25 }))
    await train(model, 1)
    model.setDropout({ seed: 5, step: 3 })
    const parameters = model.trainableParameters().map(({ parameter }) => parameter)
    const gradients = async (checkpointing: boolean) => {
      model.gradientCheckpointing = checkpointing
      const { loss } = model.loss(batchOf(rows))
      await loss.backward()
      loss.dispose()
      const values = await Promise.all(parameters.map((parameter) => parameter.grad!.data()))
      for (const parameter of parameters) parameter.zeroGrad()
      return values as Float32Array[]
    }
    const kept = await gradients(false)
    expect(kept.some((values) => values.some((value) => value !== 0))).toBe(true)
    expect(await gradients(true)).toEqual(kept)
  })

  test('half its scale changes the weights half as much', async () => {
    using model = await loadTiny('tiny-untied')
    const before = (await weightsOf(model)) as Float32Array[]
    await model.addAdapter('a', configOf(method))
    await train(model)
    const changes = async (): Promise<Float32Array[]> => {
      await model.mergeAdapter('a')
      const after = (await weightsOf(model)) as Float32Array[]
      await model.unmergeAdapter('a')
      return after.map((values, i) => values.map((value, at) => value - before[i]![at]!))
    }
    const whole = await changes()
    model.setAdapterScale('a', 0.5)
    for (const [i, half] of (await changes()).entries()) {
      expect(
        largestDifference(
          half,
          whole[i]!.map((value) => value / 2),
        ),
      ).toBeLessThan(1e-6)
    }
  })

  test('its files load to the same adapter, and training continues from them', async () => {
    using model = await loadTiny('tiny-untied')
    using again = await loadTiny('tiny-untied')
    const more = methodsWithOption('rankPattern').includes(method) ? { rankPattern: { down_proj: 2 } } : {}
    await model.addAdapter('a', configOf(method, { dropout: 0.125, targetModules: ['q_proj', 'down_proj'], ...more }))
    await train(model)
    await model.saveAdapter('a', temporary())
    await again.loadAdapter(temporary(), 'a')
    expect(again.adapters.get('a')).toEqual(model.adapters.get('a'))
    expect(await logProbs(again)).toEqual(await logProbs(model))
    await train(model)
    await train(again)
    const parameters = async (of: Model) =>
      Promise.all(of.trainableParameters().map(async ({ name, parameter }) => [name, await parameter.data()]))
    // The moments start anew in both, and everything else is the same.
    expect(await parameters(again)).toEqual(await parameters(model))
  })
})

describe('frozen factors', () => {
  test.each(['asylora', 'lora-fa'] as const)('%s trains B alone', async (method) => {
    using model = await loadTiny('tiny-untied')
    await model.addAdapter('a', configOf(method))
    expect(model.trainableParameters().every(({ name }) => name.endsWith('lora_B'))).toBe(true)
    await model.saveAdapter('a', temporary())
    const before = readTensors(join(temporary(), 'adapter_model.safetensors'))
    await train(model)
    await model.saveAdapter('a', temporary())
    for (const [name, { values }] of readTensors(join(temporary(), 'adapter_model.safetensors'))) {
      if (name.includes('lora_A')) expect(values).toEqual(before.get(name)!.values)
      else expect(largestDifference(values, before.get(name)!.values)).toBeGreaterThan(1e-3)
    }
  })

  test('asyloraTrainA trains both, and its files remember that', async () => {
    using model = await loadTiny('tiny-untied')
    const config = configOf('asylora', { asyloraTrainA: true })
    await model.addAdapter('a', config)
    const trained = () => model.trainableParameters().map(({ name }) => name)
    const before = trained()
    expect(before.filter((name) => name.endsWith('lora_A')).length).toBe(before.length / 2)
    await model.saveAdapter('a', temporary())
    model.removeAdapter('a')
    expect(await model.loadAdapter(temporary(), 'a')).toMatchObject({ method: 'asylora', asyloraTrainA: true })
    expect(trained()).toEqual(before)
  })

  test("asylora's rows are orthonormal", async () => {
    using model = await loadTiny('tiny-untied')
    await model.addAdapter('a', configOf('asylora', { rank: 5 }))
    await model.saveAdapter('a', temporary())
    for (const [name, { shape, values }] of readTensors(join(temporary(), 'adapter_model.safetensors'))) {
      if (!name.includes('lora_A')) continue
      const [rank, k] = shape as [number, number]
      for (let i = 0; i < rank; i++) {
        for (let j = 0; j < rank; j++) {
          let product = 0
          for (let at = 0; at < k; at++) product += values[i * k + at]! * values[j * k + at]!
          expect(Math.abs(product - (i === j ? 1 : 0)), name).toBeLessThan(1e-6)
        }
      }
    }
  })

  test('more rows than inputs are refused by name', async () => {
    using model = await loadTiny('tiny-untied')
    expect(() => model.addAdapter('a', configOf('asylora', { rank: 65 }))).toThrow('more than the 64 inputs of')
    expect(() => model.addAdapter('a', configOf('pissa', { rank: 65 }))).toThrow('singular values of')
    expect(() => model.addAdapter('a', configOf('miss', { rank: 65 }))).toThrow('miss cannot share it')
    expect(model.adapters.size).toBe(0)
  })
})

describe('pissa', () => {
  test('takes the largest singular values, and its file is a plain LoRA of twice the rank', async () => {
    using model = await loadTiny('tiny-untied')
    using plain = await loadTiny('tiny-untied')
    await model.addAdapter('a', configOf('pissa', { alpha: 6 }))
    const linear = model.linears()[0]!
    const { trained } = linear.adapters.get('a')!.layer as PissaLayer
    const [a, b] = [await trained.a.data(), await trained.b.data()]
    const norm = (values: Float32Array, at: (i: number) => number, count: number) =>
      Math.hypot(...Array.from({ length: count }, (_, i) => values[at(i)]!))
    const sizes = Array.from({ length: 3 }, (_, r) => {
      const ofA = norm(a, (i) => r * linear.inFeatures + i, linear.inFeatures)
      const ofB = norm(b, (i) => i * 3 + r, linear.outFeatures)
      expect(Math.abs(ofA / ofB - 1)).toBeLessThan(1e-5)
      return 2 * ofA * ofB
    })
    const { native } = await import('../../../lib/native/addon.js')
    const weight = await linear.weight.data()
    const { s } = await native.svd(weight, linear.outFeatures, linear.inFeatures, false)
    for (const [i, size] of sizes.entries()) expect(Math.abs(size / s[i]! - 1)).toBeLessThan(1e-5)

    await train(model)
    await model.saveAdapter('a', temporary())
    const path = join(temporary(), 'adapter_model.safetensors')
    const { metadata } = await readSafetensorsHeader(path)
    expect(JSON.parse(metadata.node_mora!)).toMatchObject({ method: 'pissa' })
    await writeSafetensors(path, entriesOf(readTensors(path)))
    expect(await plain.loadAdapter(temporary(), 'a')).toMatchObject({ method: 'lora', rank: 6, alpha: 12 })
    expect(largestDifference(await logProbs(plain), await logProbs(model))).toBeLessThan(1e-5)
  })
})

describe('matchingRank', () => {
  test.each(ADAPTER_METHODS)('of %s is the rank with the closest count', async (method) => {
    using model = await loadTiny('tiny-untied')
    const layers = model.linears()
    const wanted = countAdapterParameters(configOf('lora', { rank: 4 }), layers)
    const miss = (rank: number) => Math.abs(countAdapterParameters(configOf(method, { rank }), layers) - wanted)
    const rank = matchingRank('lora:4', method, {}, layers)
    expect(Array.from({ length: 40 }, (_, i) => i + 1).every((other) => miss(rank) <= miss(other))).toBe(true)
  })

  test('refuses what is not a method and a rank', () => {
    for (const budget of ['lora', 'lora:0', 'full:8', 'lora:8:2']) {
      expect(() => matchingRank(budget, 'mora', {}, [])).toThrow('Expected METHOD:RANK')
    }
  })
})
