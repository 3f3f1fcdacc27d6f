/** Restarted adapters: ΔW is merged into the weights, and the adapter begins at zero (ReMoRA, ReLoRA). */
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { type MoraConfig, mora } from '../../../lib/adapters/methods/mora.js'
import { randomStream } from '../../../lib/common/random.js'
import { loadModel, type Model } from '../../../lib/models/index.js'
import { AdamW } from '../../../lib/optim/adamw.js'
import { bfloat16BitsToFloat32, float32ToBfloat16Bits } from '../../../lib/tensor/half.js'
import { drawnIfEmulated } from '../../drawn.js'
import { goldenPath, largestDifference } from '../../golden/files.js'
import { batchOf, expectedOf, loadTiny, logProbsOf, takeSteps } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const { sequences } = expectedOf('tiny-untied')
const temporary = useTemporaryFolder()

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const logProbs = async (model: Model) => (await logProbsOf(model, sequences)).flat()
const weightsOf = (model: Model) => Promise.all(model.linears().map(async ({ weight }) => await weight.data()))
const parametersOf = (model: Model) => model.trainableParameters().map(({ parameter }) => parameter)

/** Gives trained tensors random values. */
function disturb(model: Model, name: string, size = 0.02): void {
  const random = randomStream(2, name)
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => size * random.normal()))
}

const configs: [string, MoraConfig | ReturnType<typeof lora>, Partial<MoraConfig>][] = [
  ['sharing', mora({ rank: 4, operator: 'sharing' }), { operator: 'sharing-grouped' }],
  [
    'rotation after permuted sharing',
    mora({ rank: 3, operator: 'sharing', permutation: { seed: 1, cycle: 0 } }),
    { operator: 'rotation', permutation: null },
  ],
  ['a permutation', mora({ rank: 4, operator: 'sharing' }), { permutation: { seed: 1, cycle: 1 } }],
  ['lora', lora({ rank: 4 }), {}],
]

describe.each(drawnIfEmulated('restarted adapters', configs, 2))('restarted: %s', (_, first, change) => {
  const second = { ...first, ...change }

  test('the model computes the same, and the adapter is at zero', async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('a', first)
    disturb(model, 'first')
    const before = await logProbs(model)
    const old = parametersOf(model)
    await model.restartAdapter('a', { config: second, seed: 5 })
    expect(largestDifference(await logProbs(model), before)).toBeLessThan(2e-5)
    expect(old.every(({ disposed }) => disposed)).toBe(true)
    model.setActiveAdapters([])
    expect(largestDifference(await logProbs(model), before)).toBeLessThan(2e-5)
    expect(model.adapters.get('a')).toEqual(second)
  })

  test('the merged adapters can be merged again from files, bit for bit', async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('a', first)
    const folders: string[] = []
    for (const name of ['one', 'two']) {
      disturb(model, name)
      folders.push(join(temporary(), name))
      await model.saveAdapter('a', folders.at(-1)!)
      await model.restartAdapter('a', { config: second, seed: 5 })
    }
    using other = await loadTiny('tiny-untied')
    for (const folder of folders) await other.absorbAdapter(folder)
    expect(await weightsOf(other)).toEqual(await weightsOf(model))
  })
})

describe('a restarted adapter', () => {
  test('of LoRA begins with another A for another seed, and zero B', async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('a', lora({ rank: 2 }), { seed: 1 })
    const valuesOf = async () => {
      const values = new Map<string, Float32Array>()
      for (const { name, parameter } of model.trainableParameters()) values.set(name, await parameter.data())
      return values
    }
    const before = await valuesOf()
    await model.restartAdapter('a', { seed: 2 })
    const after = await valuesOf()
    await model.restartAdapter('a', { seed: 1 })
    expect(await valuesOf()).toEqual(before)
    for (const [name, values] of after) {
      if (name.endsWith('lora_B')) expect(values.every((value) => value === 0)).toBe(true)
      else expect(values).not.toEqual(before.get(name))
    }
  })

  test('keeps modules that it trains whole, and their moments', async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('a', mora({ rank: 4, operator: 'sharing', modulesToSave: ['norms'] }))
    const norms = parametersOf(model).filter(({ name }) => name.endsWith('norm.weight'))
    const optimizer = new AdamW(parametersOf(model))
    const step = async () => {
      const { loss, targetTokens } = model.loss(batchOf([{ input_ids: sequences[0]! }]))
      await loss.backward()
      loss.dispose()
      optimizer.step({ learningRate: 1e-3, scaleGradients: 1 / targetTokens }).dispose()
    }
    await step()
    await step()
    const momentOf = async (name: string) => {
      const { tensor } = optimizer.state().tensors.find((one) => one.name === `${name}.first_moment`)!
      return await tensor.data()
    }
    const kept = await momentOf(norms[0]!.name)
    await model.restartAdapter('a')
    optimizer.setParameters(parametersOf(model))
    expect(parametersOf(model)).toEqual(expect.arrayContaining(norms))
    expect(await momentOf(norms[0]!.name)).toEqual(kept)
    const { updates, tensors } = optimizer.state()
    const matrices = Object.keys(updates).filter((name) => name.endsWith('.mora'))
    expect(matrices.map((name) => updates[name])).toEqual(matrices.map(() => 0))
    expect(norms.map(({ name }) => updates[name])).toEqual(norms.map(() => 2))
    expect((await momentOf(matrices[0]!)).every((value) => value === 0)).toBe(true)
    expect(tensors.length).toBe(2 * Object.keys(updates).length)
    await step()
    expect(optimizer.state().updates).toMatchObject({ [matrices[0]!]: 1, [norms[0]!.name]: 3 })
    optimizer.dispose()
  })

  test('adds up in float32 beside bfloat16 weights: many small merges are not lost', async () => {
    const merges = 40
    using model = await loadTiny('tiny-untied', 'bfloat16')
    using exact = await loadTiny('tiny-untied')
    for (const each of [model, exact]) {
      each.addAdapter('a', mora({ rank: 4, operator: 'sharing' }))
      for (let i = 0; i < merges; i++) {
        for (const { parameter } of each.trainableParameters())
          parameter.assign(new Float32Array(parameter.elements).fill(1e-5))
        await each.restartAdapter('a')
      }
    }
    const [folder, wanted] = [join(temporary(), 'rounded'), join(temporary(), 'exact')]
    await model.save(folder, { dtype: 'float32' })
    await exact.save(wanted, { dtype: 'float32' })
    using saved = await loadModel(folder, { device: model.device.kind, dtype: 'float32', threads: 2 })
    expect(await weightsOf(saved)).toEqual(await weightsOf(exact))
    const rounded = (value: number) => bfloat16BitsToFloat32(float32ToBfloat16Bits(value))
    const expected = (await weightsOf(exact)).map((values) => values.map(rounded))
    expect(await weightsOf(model)).toEqual(expected)
  })

  test('merges beneath adapters that can be unmerged', async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('b', mora({ rank: 2, operator: 'rotation' }))
    disturb(model, 'b')
    await model.mergeAdapter('b')
    model.addAdapter('a', mora({ rank: 4, operator: 'sharing' }))
    disturb(model, 'a')
    await model.restartAdapter('a')
    await model.unmergeAdapter('b')
    using other = await loadTiny('tiny-untied')
    other.addAdapter('a', mora({ rank: 4, operator: 'sharing' }))
    disturb(other, 'a')
    await other.restartAdapter('a')
    expect(await weightsOf(model)).toEqual(await weightsOf(other))
  })

  test('is written with the whole model as it computes', async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('a', mora({ rank: 4, operator: 'sharing', modulesToSave: ['head'] }))
    await takeSteps(model, batchOf([{ input_ids: sequences[0]! }]), 1e-3, 2)
    await model.restartAdapter('a')
    await takeSteps(model, batchOf([{ input_ids: sequences[1]! }]), 1e-3, 2)
    const before = await weightsOf(model)
    await model.save(join(temporary(), 'model'), { mergeActive: true })
    expect(await weightsOf(model)).toEqual(before)
    using saved = await loadModel(join(temporary(), 'model'), {
      device: model.device.kind,
      dtype: 'float32',
      threads: 2,
    })
    expect(largestDifference(await logProbs(saved), await logProbs(model))).toBeLessThan(2e-5)
  })

  test('no longer belongs to a file', async () => {
    using model = await loadTiny('tiny-untied')
    await model.loadAdapter(goldenPath('tiny-untied/adapters/sharing'), 'a')
    await model.restartAdapter('a')
    await model.saveAdapter('a', join(temporary(), 'a'))
    using other = await loadTiny('tiny-untied')
    await other.loadAdapter(join(temporary(), 'a'), 'a')
    expect(other.adapterSet.provenance('a').baseHash).toBeUndefined()
  })
})
