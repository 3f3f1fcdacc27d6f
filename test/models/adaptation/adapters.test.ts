/** Adapters on a model: several at once, switched, removed, and the trained tensors. */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lora, loraMethod } from '../../../lib/adapters/methods/lora.js'
import { mora, moraMethod, operators } from '../../../lib/adapters/methods/mora.js'
import { countParameters } from '../../../lib/adapters/tensors/declared-tensors.js'
import { randomStream } from '../../../lib/common/random.js'
import type { Model } from '../../../lib/models/model.js'
import { AdamW } from '../../../lib/optim/adamw.js'
import { goldenPath, largestDifference } from '../../golden/files.js'
import { batchOf, expectedOf, loadTiny, logProbsOf } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const { sequences, logprobs, adapters } = expectedOf('tiny-untied')
const sequence = sequences.slice(0, 1)
const temporary = useTemporaryFolder()

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const adapterFolder = (name: string): string => goldenPath(`tiny-untied/adapters/${name}`)
const goldenOf = (name: string): number[] => adapters.find((adapter) => adapter.name === name)!.logprobs[0]!

async function differenceTo(model: Model, wanted: number[]): Promise<number> {
  return largestDifference((await logProbsOf(model, sequence))[0]!, wanted)
}

/** Weights of a model with all of its linear layers' ΔW computed by merging. */
async function mergedWeights(model: Model): Promise<Float32Array[]> {
  return Promise.all(model.linears().map(async ({ weight }) => await weight.data()))
}

describe('several adapters', () => {
  test('add their parts: both active are both merged', async () => {
    using model = await loadTiny('tiny-untied')
    await model.loadAdapter(adapterFolder('rotation'), 'one')
    await model.loadAdapter(adapterFolder('lora'), 'two')
    const both = (await logProbsOf(model, sequence))[0]!
    await model.mergeAdapter('one')
    expect(await differenceTo(model, both)).toBeLessThan(1e-5)
    await model.mergeAdapter('two')
    expect(await differenceTo(model, both)).toBeLessThan(1e-5)
    expect(await differenceTo(model, goldenOf('rotation'))).toBeGreaterThan(1e-2)
  })

  test('switched: only the named ones take part', async () => {
    using model = await loadTiny('tiny-untied')
    for (const name of ['rotation', 'sharing', 'grouped']) await model.loadAdapter(adapterFolder(name), name)
    for (const name of ['sharing', 'rotation', 'grouped', 'rotation']) {
      model.setActiveAdapters([name])
      expect(await differenceTo(model, goldenOf(name)), name).toBeLessThan(5e-5)
    }
    model.setActiveAdapters([])
    expect(await differenceTo(model, logprobs[0]!)).toBeLessThan(5e-5)
  })

  test('unmerging the first of two merged leaves the second, bit for bit', async () => {
    using model = await loadTiny('tiny-untied')
    using alone = await loadTiny('tiny-untied')
    for (const name of ['rotation', 'sharing']) await model.loadAdapter(adapterFolder(name), name)
    await model.mergeAdapter('rotation')
    await model.mergeAdapter('sharing')
    await model.unmergeAdapter('rotation')
    await alone.loadAdapter(adapterFolder('sharing'), 'sharing')
    await alone.mergeAdapter('sharing')
    expect(await mergedWeights(model)).toEqual(await mergedWeights(alone))
    model.setActiveAdapters(['sharing'])
    expect(await differenceTo(model, goldenOf('sharing'))).toBeLessThan(5e-5)
  })

  test('removed: the model is as before, and its memory too', async () => {
    using model = await loadTiny('tiny-untied')
    const before = (await logProbsOf(model, sequence))[0]!
    const bytes = model.device.memory().inUse
    await model.loadAdapter(adapterFolder('rotation'), 'x')
    expect((await logProbsOf(model, sequence))[0]!).not.toEqual(before)
    model.removeAdapter('x')
    expect((await logProbsOf(model, sequence))[0]!).toEqual(before)
    expect([...model.adapters.keys()]).toEqual([])
    expect(model.device.memory().inUse).toBe(bytes)
  })

  test('only active adapters are trained', async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('one', mora({ rank: 2 }))
    model.addAdapter('two', lora({ rank: 2 }))
    model.setActiveAdapters(['two'])
    const names = model.trainableParameters().map(({ name }) => name)
    expect(names.every((name) => name.includes('lora'))).toBe(true)
    expect(names.length).toBe(2 * model.linears().length)
  })
})

describe('merged adapters', () => {
  test('stay part of the weights when these are trained: pristine + ΔW in float32', async () => {
    using model = await loadTiny('tiny-untied')
    await model.loadAdapter(adapterFolder('rotation'), 'x')
    const adapted = (await logProbsOf(model, sequence))[0]!
    await model.mergeAdapter('x')
    const merged = await mergedWeights(model)
    model.trainAll()
    expect(await mergedWeights(model)).toEqual(merged)
    expect(await differenceTo(model, adapted)).toBeLessThan(1e-5)
    expect(model.trainableParameters().length).toBe(model.slots.length)
    expect([...model.adapters.keys()], 'adapters that could still be unmerged').toEqual([])
  })

  test('are added in float32 to what a bfloat16 model trains', async () => {
    using model = await loadTiny('tiny-untied', 'bfloat16')
    using exact = await loadTiny('tiny-untied')
    for (const one of [model, exact]) {
      await one.loadAdapter(adapterFolder('sharing'), 'x')
      await one.mergeAdapter('x')
      one.trainAll()
    }
    expect(await mergedWeights(model)).toEqual(await mergedWeights(exact))
  })

  test.each([true, false])('have the same active state after unmerging: %s', async (active) => {
    using model = await loadTiny('tiny-untied')
    await model.loadAdapter(adapterFolder('rotation'), 'x')
    if (!active) model.setActiveAdapters([])
    const before = (await logProbsOf(model, sequence))[0]!
    await model.mergeAdapter('x')
    await model.unmergeAdapter('x')
    expect(model.adapterSet.activeNames()).toEqual(active ? ['x'] : [])
    expect((await logProbsOf(model, sequence))[0]!).toEqual(before)
  })

  test('are not unmerged from weights that the program has changed since, and keep what it changed before', async () => {
    using model = await loadTiny('tiny-untied')
    await model.loadAdapter(adapterFolder('rotation'), 'x')
    const [weight] = model.linears().flatMap(({ weight, adapters }) => (adapters.size > 0 ? weight.floats! : []))
    const half = new Float32Array(weight!.elements).fill(0.5)
    weight!.assign(half)
    await model.mergeAdapter('x')
    await model.unmergeAdapter('x')
    expect(await weight!.data()).toEqual(half)
    await model.mergeAdapter('x')
    weight!.assign(half)
    await expect(model.unmergeAdapter('x')).rejects.toThrow(/was changed after x was merged/)
  })

  test('of a model without a file are unmerged from its trained weights', async () => {
    using model = await loadTiny('tiny-untied')
    model.trainAll()
    await model.loadAdapter(adapterFolder('rotation'), 'x')
    for (let round = 0; round < 2; round++) {
      const { parameter } = model.trainableParameters()[1]!
      parameter.assign(Float32Array.from(await parameter.data(), (value) => value + 0.5))
      const weights = await mergedWeights(model)
      const adapted = (await logProbsOf(model, sequence))[0]!
      await model.mergeAdapter('x')
      expect(await differenceTo(model, adapted)).toBeLessThan(1e-5)
      await model.unmergeAdapter('x')
      expect(await mergedWeights(model)).toEqual(weights)
    }
  })
})

describe('errors name the adapter and the way out', () => {
  const code = (expected: string, message: RegExp) =>
    expect.objectContaining({ code: expected, message: expect.stringMatching(message) })

  test('of names', async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('one', mora({ rank: 2 }))
    expect(() => model.addAdapter('one', mora())).toThrow(code('adapter-exists', /one already/))
    expect(() => model.setActiveAdapters(['two'])).toThrow(code('unknown-adapter', /no adapter two; it has: one/))
    await expect(model.unmergeAdapter('one')).rejects.toThrow(code('not-merged', /one is not merged/))
    await model.mergeAdapter('one')
    await expect(model.mergeAdapter('one')).rejects.toThrow(code('already-merged', /one is merged already/))
    expect(() => model.removeAdapter('one')).toThrow(code('merged', /unmerge it/))
  })

  test('target modules that match nothing list the candidates (T27)', async () => {
    using model = await loadTiny('tiny-untied')
    const candidates = /candidates: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj/
    for (const targetModules of [['nothing'], ['q_proj', 'norm'], /attention\.nothing/]) {
      expect(() => model.addAdapter('x', mora({ targetModules }))).toThrow(code('no-target', candidates))
    }
    expect(model.adapters.size, 'adapters after the errors').toBe(0)
  })

  test('an adapter of another model does not fit, and leaves nothing', async () => {
    using model = await loadTiny('tiny-tied-llama3-rope')
    const bytes = model.device.memory().inUse
    await expect(model.loadAdapter(adapterFolder('rotation'))).rejects.toThrow(code('unfit-adapter', /./))
    expect(model.adapters.size).toBe(0)
    expect(model.device.memory().inUse, 'bytes in use').toBe(bytes)
  })

  test('a merge that is not finite is undone', async () => {
    using model = await loadTiny('tiny-untied')
    const before = await mergedWeights(model)
    model.addAdapter('x', mora({ rank: 2, targetModules: ['down_proj'] }))
    const { parameter } = model.trainableParameters()[1]!
    parameter.assign(new Float32Array(parameter.elements).fill(Number.POSITIVE_INFINITY))
    await expect(model.mergeAdapter('x')).rejects.toThrow(
      code('non-finite', /adapter x .* not finite; nothing was changed/),
    )
    expect(await mergedWeights(model)).toEqual(before)
  })
})

describe('counts and dtypes', () => {
  const configs = [
    ...operators.map((operator) => mora({ rank: 3, operator })),
    mora({ rank: 5, operator: 'rotation', targetModules: ['q_proj', 'mlp.up_proj'] }),
    lora({ rank: 4 }),
    lora({ rank: 4, rankPattern: { 'layers.1.mlp.down_proj': 7 } }),
  ]

  test.each(configs)(
    'exactly the requested tensors are trained (T22): $method $operator $targetModules',
    async (config) => {
      using model = await loadTiny('tiny-untied')
      model.addAdapter('x', config)
      const selected = model.linears().filter(({ adapters: beside }) => beside.has('x'))
      const method = config.method === 'mora' ? moraMethod : loraMethod
      const asked = selected.reduce((sum, linear) => sum + countParameters(method, config, linear), 0)
      const trained = model.trainableParameters().reduce((sum, { parameter }) => sum + parameter.elements, 0)
      expect(trained).toBe(asked)
      expect(selected.length).toBe(config.targetModules === 'all-linear' ? 21 : 6)
    },
  )

  test('saved and loaded again, the same is trained and the base stays frozen (T22)', async () => {
    const folder = join(temporary(), 'adapter')
    using model = await loadTiny('tiny-untied')
    model.addAdapter('x', mora({ rank: 3 }))
    await model.saveAdapter('x', folder)
    using again = await loadTiny('tiny-untied')
    await again.loadAdapter(folder, 'x')
    const shapes = (of: Model) => of.trainableParameters().map(({ name, parameter }) => [name, parameter.shape])
    expect(shapes(again)).toEqual(shapes(model))
    rmSync(folder, { recursive: true })
  })

  test('rounded matrices are loaded from the rule that their file records', async () => {
    using model = await loadTiny('tiny-untied')
    const config = mora({ rank: 2, operator: 'rotation', roundRank: 8 })
    model.addAdapter('default', config, { seed: 1 })
    const sides = model.trainableParameters().map(({ parameter }) => parameter.shape[0]!)
    expect(sides.every((side) => side % 8 === 0)).toBe(true)
    const folder = join(temporary(), 'adapter')
    await model.saveAdapter('default', folder)
    const read = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
    expect(read.mora_round_rank).toBe(8)
    model.removeAdapter('default')
    expect(await model.loadAdapter(folder)).toMatchObject({ roundRank: 8 })
    expect(model.trainableParameters().map(({ parameter }) => parameter.shape[0]!)).toEqual(sides)
  })

  test('training an adapter leaves the base bit for bit', async () => {
    using model = await loadTiny('tiny-untied')
    const before = await mergedWeights(model)
    model.addAdapter('x', mora({ rank: 3 }))
    const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
    for (let step = 0; step < 3; step++) {
      const { loss } = model.loss(batchOf([{ input_ids: sequences[1]! }]))
      await loss.backward()
      loss.dispose()
      optimizer.step({ learningRate: 0.1 }).dispose()
    }
    expect(await mergedWeights(model)).toEqual(before)
    optimizer.dispose()
  })

  test('adapters, gradients and moments are float32 beside bfloat16 weights (T26)', async () => {
    using model = await loadTiny('tiny-untied', 'bfloat16')
    model.addAdapter('mora', mora({ rank: 2 }))
    model.addAdapter('lora', lora({ rank: 2 }))
    const parameters = model.trainableParameters().map(({ parameter }) => parameter)
    const optimizer = new AdamW(parameters)
    const { loss } = model.loss(batchOf([{ input_ids: sequences[0]! }]))
    await loss.backward()
    expect(model.linears().every(({ weight }) => weight.storage === 'bfloat16')).toBe(true)
    expect(loss.dtype).toBe('float32')
    for (const parameter of parameters) {
      expect(parameter.dtype, parameter.name).toBe('float32')
      expect(parameter.grad!.native.dtype, parameter.name).toBe('float32')
    }
    for (const { name, tensor } of optimizer.state().tensors) expect(tensor.native.dtype, name).toBe('float32')
    loss.dispose()
    optimizer.dispose()
  })

  test('a step too small for bfloat16 is not lost (T26)', async () => {
    using model = await loadTiny('tiny-untied', 'bfloat16')
    model.addAdapter('x', lora({ rank: 1, targetModules: ['q_proj'] }))
    const { parameter } = model.trainableParameters()[0]!
    parameter.assign(new Float32Array(parameter.elements).fill(1))
    const optimizer = new AdamW([parameter])
    const random = randomStream(1, 'test')
    for (let step = 0; step < 4; step++) {
      const { loss } = model.loss(batchOf([{ input_ids: Array.from({ length: 9 }, () => random.integer(300)) }]))
      await loss.backward()
      loss.dispose()
      model.trainableParameters()[1]!.parameter.assign(Float32Array.from({ length: 64 }, () => random.normal()))
      optimizer.step({ learningRate: 2 ** -14 }).dispose()
    }
    const values = await parameter.data()
    expect(values.some((value) => value !== 1 && Math.abs(value - 1) < 2 ** -9)).toBe(true)
    optimizer.dispose()
  })
})
