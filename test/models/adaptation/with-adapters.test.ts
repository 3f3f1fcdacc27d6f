/** Adapters that belong to a call, whatever is active in the model. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { evaluate } from '../../../lib/eval/index.js'
import { Chat, generate } from '../../../lib/generate/index.js'
import { loadModel } from '../../../lib/models/index.js'
import type { Model } from '../../../lib/models/model.js'
import { batchOf, expectedOf, loadTiny, logProbsOf } from '../../golden/tiny-models.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const { sequences } = expectedOf('tiny-untied')
const data = sequences.map((input_ids) => ({ input_ids }))
const demo = 'assets/demo-model'
const code = (expected: string, message: RegExp) =>
  expect.objectContaining({ code: expected, message: expect.stringMatching(message) })

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

/** Adds adapters a and b, and c, which trains norms whole; all change much, and a is active. */
async function addOthers(model: Model): Promise<void> {
  for (const [name, modulesToSave] of Object.entries({ a: [], b: [], c: ['norms'] })) {
    await model.addAdapter(name, mora({ rank: 2, modulesToSave }))
    model.setActiveAdapters([name])
    for (const { parameter } of model.trainableParameters()) {
      const values = await parameter.data()
      parameter.assign(values.map((value, i) => value + 0.3 * Math.sin(i + name.charCodeAt(0))))
    }
  }
  model.setActiveAdapters(['a'])
}

describe('a view of a model', () => {
  let model: Model
  beforeAll(async () => {
    model = await loadTiny('tiny-untied')
    await addOthers(model)
  })
  afterAll(() => model.dispose())

  test.each([
    ['none', [], []],
    ['the active one', ['a'], ['a']],
    ['another', ['b'], ['b']],
    ['two', ['a', 'b'], ['a', 'b']],
    ['one with modules trained whole', ['c'], ['c']],
  ])('computes with %s as if they were active', async (_, chosen, active) => {
    const view = model.withAdapters(chosen)
    expect(view.adapterSet.activeNames()).toEqual(chosen)
    const values = [...(await view.tokenLogProbs(batchOf(data)))]
    expect(model.adapterSet.activeNames()).toEqual(['a'])
    model.setActiveAdapters(active)
    expect(values).toEqual([...(await model.tokenLogProbs(batchOf(data)))])
    model.setActiveAdapters(['a'])
  })

  test('keeps the adapters that were active when it was made, with their scales', async () => {
    const before = await logProbsOf(model, sequences)
    const view = model.withAdapters()
    model.setAdapterScale('a', 0)
    model.setActiveAdapters(['b'])
    expect(await logProbsOf(view as unknown as Model, sequences)).toEqual(before)
    expect(await logProbsOf(view.withAdapters() as unknown as Model, sequences)).toEqual(before)
    model.setAdapterScale('a', 1)
    model.setActiveAdapters(['a'])
    expect(await logProbsOf(model, sequences)).toEqual(before)
  })

  test('scales an adapter for its own passes', async () => {
    model.setAdapterScale('a', 0.25)
    const scaled = await logProbsOf(model, sequences)
    model.setAdapterScale('a', 1)
    const view = model.withAdapters([{ name: 'a', scale: 0.25 }])
    expect(await logProbsOf(view as unknown as Model, sequences)).toEqual(scaled)
  })

  test('computes gradients of its adapters, also if blocks are computed again', async () => {
    const gradients = async (checkpointing: boolean) => {
      const view = model.withAdapters(['b'])
      view.gradientCheckpointing = checkpointing
      const { loss } = view.loss(batchOf(data))
      await loss.backward()
      loss.dispose()
      model.setActiveAdapters(['b'])
      const parameters = model.trainableParameters().map(({ parameter }) => parameter)
      const all = await Promise.all(parameters.map(async ({ grad }) => [...(await grad!.data())]))
      for (const parameter of parameters) parameter.zeroGrad()
      model.setActiveAdapters(['a'])
      return all
    }
    expect(await gradients(true)).toEqual(await gradients(false))
  })

  test('has no dropout of the model, and the model none of it', async () => {
    const view = model.withAdapters()
    const before = await logProbsOf(model, sequences)
    model.setDropout({ seed: 1, step: 1 })
    expect(await logProbsOf(view as unknown as Model, sequences)).toEqual(before)
    model.setDropout(null)
    view.setDropout({ seed: 1, step: 1 })
    expect(await logProbsOf(model, sequences)).toEqual(before)
  })

  test('tells what is wrong with a choice', async () => {
    expect(() => model.withAdapters(['d'])).toThrow(code('unknown-adapter', /no adapter d; it has: a, b, c/))
    expect(() => model.withAdapters(['a', { name: 'a', scale: 2 }])).toThrow(code('bad-value', /a is chosen twice/))
    expect(() => model.withAdapters('a' as never)).toThrow(code('bad-value', /a list of names of adapters, or of/))
    expect(() => model.withAdapters([{ name: 'a', scale: Number.NaN }])).toThrow(code('bad-value', /a list of names/))
    expect(() => model.withAdapters([{ name: 'a', scael: 1 } as never])).toThrow(code('bad-value', /a list of names/))
    await model.mergeAdapter('b')
    expect(() => model.withAdapters([{ name: 'b', scale: 2 }])).toThrow(code('merged', /Adapter b is merged/))
    await model.unmergeAdapter('b')
  })

  test('refuses passes with an adapter that is gone', async () => {
    await model.addAdapter('gone', mora({ rank: 2 }))
    const view = model.withAdapters(['gone'])
    model.removeAdapter('gone')
    model.setActiveAdapters(['a'])
    expect(() => view.loss(batchOf(data))).toThrow(code('unknown-adapter', /no adapter gone/))
    expect(model.adapterSet.activeNames()).toEqual(['a'])
  })
})

describe('generate and evaluate', () => {
  let model: Model
  beforeAll(async () => {
    model = await loadModel(demo, { device: testDevice().kind, dtype: 'float32', threads: 2 })
    await addOthers(model)
  })
  afterAll(() => model.dispose())
  const prompt = { prompt: 'What is', raw: true, maxNewTokens: 12 }
  const lossOf = async (adapters?: readonly string[]) =>
    (await evaluate(model, { task: 'perplexity', data: [{ text: 'Once upon a time.' }], adapters })).loss

  test('take adapters of one call, many at a time', async () => {
    const alone = new Map<string, number[]>()
    for (const name of ['', 'a', 'b', 'c']) {
      model.setActiveAdapters(name === '' ? [] : [name])
      alone.set(name, (await generate(model, prompt)).ids)
    }
    model.setActiveAdapters(['a'])
    expect(new Set([...alone.values()].map(String)).size).toBe(4)
    const together = await Promise.all(
      [...alone.keys()].map((name) => generate(model, { ...prompt, adapters: name === '' ? [] : [name] })),
    )
    expect(together.map(({ ids }) => ids)).toEqual([...alone.values()])
    expect((await generate(model, prompt)).ids).toEqual(alone.get('a'))
    expect((await generate(model, { ...prompt, adapters: [{ name: 'a', scale: 0 }] })).ids).toEqual(alone.get(''))
  })

  test('measure with them, and forgetting compares them with none', async () => {
    const text = [{ text: 'Once upon a time.' }]
    const [a, b, none] = [await lossOf(), await lossOf(['b']), await lossOf([])]
    expect(await lossOf(['a'])).toBe(a)
    expect(new Set([a, b, none]).size).toBe(3)
    const { before, after } = await evaluate(model, { task: 'forgetting', data: text, adapters: ['b'] })
    expect([before, after]).toEqual([none, b])
    await expect(evaluate(model, { task: 'forgetting', data: text, adapters: [] })).rejects.toThrow(/load an adapter/)
  })

  test('are told of adapters that are missing, and chats have their own', async () => {
    await expect(generate(model, { ...prompt, adapters: ['d'] })).rejects.toThrow(code('unknown-adapter', /adapter d/))
    await expect(lossOf(['d'])).rejects.toThrow(code('unknown-adapter', /adapter d/))
    expect(() => new Chat(model, { adapters: ['d'] })).toThrow(code('unknown-adapter', /adapter d/))
  })

  test.each([
    ['adapter', '/nope', /load the adapter with model\.loadAdapter, and choose it with the option adapters/],
    ['device', 'cuda', /the model is loaded already: give the option to loadModel/],
    ['threads', 2, /give the option to loadModel/],
    ['dtype', 'float16', /give the option to loadModel/],
    ['quantised', true, /give the option to loadModel/],
    ['model', demo, /give the option to loadModel/],
  ])('refuse %s, which they would not honour', async (name, value, way) => {
    // @ts-expect-error no options of these calls
    const typed = { ...prompt, device: 'cpu' } satisfies Parameters<typeof generate>[1]
    expect(typed.device).toBe('cpu')
    const given = { [name]: value } as object
    await expect(generate(model, { ...prompt, ...given })).rejects.toThrow(code('unfit-options', way))
    const call = { task: 'perplexity', data: [{ text: 'a b' }], ...given } as const
    await expect(evaluate(model, call)).rejects.toThrow(code('unfit-options', way))
  })
})
