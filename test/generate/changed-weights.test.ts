/** After every way to change weights, answers, scores and embeddings are those of a model that was opened with them. */
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { packBatch } from '../../lib/batches/packing.js'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { randomStream } from '../../lib/common/random.js'
import { embeddingsOf } from '../../lib/eval/index.js'
import { Chat, TextEngine } from '../../lib/generate/index.js'
import { loadModel, type Model, type SequenceCache } from '../../lib/models/index.js'
import { AdamW } from '../../lib/optim/adamw.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { largestDifference } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { templatePath } from '../text/tokenizer/small-tokenizer.js'

const temporary = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const load = (path = DEMO_MODEL): Promise<Model> => loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })

/** More than a page of tokens. */
const prompt =
  'Nora walks from the harbour to the mill and back, and on her way she counts the boats, birds and bells. '.repeat(2)
const call = { prompt, maxNewTokens: 2, temperature: 0, logprobs: true }
const chatOptions = { template: templatePath('chatml'), maxNewTokens: 2, temperature: 0, logprobs: true }

function disturb(model: Model, seed: number): void {
  const random = randomStream(seed, 'changed weights')
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.1 * random.normal()))
}

/** Adds the active adapter `a`, whose values depend on the seed. */
async function addAdapter(model: Model, seed = 1): Promise<void> {
  await model.addAdapter('a', lora({ rank: 2, modulesToSave: ['norms'] }))
  disturb(model, seed)
}

const rows = [{ prompt: 'Nora counts ', completion: 'the bells.' }]
const trained = (model: Model, options: Partial<TrainOptions> = {}) =>
  train(model, { data: rows, maxSteps: 2, learningRate: 0.05, warmupRatio: 0, ...options }).finished

async function stepByHand(model: Model): Promise<void> {
  const { loss } = model.loss(packBatch([{ ids: [5, 6, 7], mask: [0, 1, 1], row: 0 }]))
  await loss.backward()
  loss.dispose()
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  optimizer.step({ learningRate: 0.05 }).dispose()
  optimizer.dispose()
}

const first = (model: Model) => model.trainableParameters()[0]!.parameter

interface Way {
  before?: (model: Model) => Promise<unknown>
  change: (model: Model, check: () => Promise<void>) => unknown
  /** Whether answers stay the same. */
  isSame?: true
}

const ways: Record<string, Way> = {
  assign: { change: (model) => disturb(model, 2) },
  copyFrom: {
    change: (model) => {
      using zeros = Tensor.zeros(first(model).shape, first(model))
      first(model).copyFrom(zeros)
    },
  },
  'a view of a parameter': {
    change: (model) => {
      using row = first(model).rows(0, 1)
      row.assign(new Float32Array(row.elements).fill(0.5))
    },
  },
  'a frozen weight': {
    change: (model) => {
      using zeros = Tensor.zeros(model.embeddings.shape, model.embeddings)
      model.embeddings.copyFrom(zeros)
    },
  },
  'a frozen weight under a merged adapter': {
    before: (model) => model.mergeAdapter('a'),
    change: (model) => {
      const merged = model.linears()[0]!.weight.floats!
      const random = randomStream(3, 'changed weights')
      merged.assign(Float32Array.from({ length: merged.elements }, () => random.normal()))
    },
  },
  'steps by hand': { change: stepByHand },
  'a run': { change: (model) => trained(model) },
  'each step of a run': {
    change: (model, check) =>
      trained(model, {
        onEvent: ({ type }) => (type === 'step' ? check() : undefined),
      }),
  },
  'restarts in a run': { change: (model) => trained(model, { mergeEvery: 1 }) },
  'full training': {
    before: async (model) => model.removeAdapter('a'),
    change: (model) => trained(model, { method: 'full' }),
  },
  trainAll: {
    before: (model) => model.mergeAdapter('a'),
    change: async (model) => {
      model.trainAll()
      await stepByHand(model)
    },
  },
  setAdapterScale: { change: (model) => model.setAdapterScale('a', 0.25) },
  setActiveAdapters: { change: (model) => model.setActiveAdapters([]) },
  addAdapter: {
    change: async (model) => {
      await model.addAdapter('b', lora({ rank: 2 }))
      disturb(model, 3)
    },
  },
  addHead: { change: (model) => model.addHead(['good', 'bad']), isSame: true },
  mergeAdapter: { change: (model) => model.mergeAdapter('a'), isSame: true },
  'a merged adapter beside its base': {
    before: async (model) => model.setActiveAdapters([]),
    change: (model) => model.mergeAdapter('a'),
  },
  unmergeAdapter: {
    before: (model) => model.mergeAdapter('a'),
    change: async (model) => {
      await model.unmergeAdapter('a')
      model.setActiveAdapters([])
    },
  },
  restartAdapter: {
    change: async (model) => {
      await model.restartAdapter('a')
      disturb(model, 4)
    },
  },
  absorbAdapter: {
    change: async (model) => {
      await model.saveAdapter('a', join(temporary(), 'absorbed'), { modules: false })
      await model.absorbAdapter(join(temporary(), 'absorbed'))
    },
  },
  removeAdapter: { change: (model) => model.removeAdapter('a') },
  'another adapter by the same name': {
    change: async (model) => {
      model.removeAdapter('a')
      await addAdapter(model, 5)
    },
  },
  'a loaded adapter by the same name': {
    change: async (model) => {
      disturb(model, 6)
      await model.saveAdapter('a', join(temporary(), 'saved'))
      disturb(model, 1)
      model.removeAdapter('a')
      await model.loadAdapter(join(temporary(), 'saved'), 'a')
    },
  },
}

test.each(Object.entries(ways))('%s', async (name, { before, change, isSame }) => {
  using model = await load()
  await addAdapter(model)
  await before?.(model)
  await using engine = new TextEngine(model)
  using chat = new Chat(model, chatOptions)
  const ids = await model.tokenizer!.encodeText(prompt)
  using cache = model.createCache(ids.length)
  const read = async (from: { engine: TextEngine; chat: Chat; cache: SequenceCache }) => {
    const say = from.chat.say('Nora?')
    let said = await say.next()
    while (!said.done) said = await say.next()
    from.chat.messages.length = 2
    const { ids: written, logprobs } = await from.engine.generate(call)
    const known = from.cache.rewind(ids.length - 1)
    const logits = await model.nextLogits(ids.slice(known), from.cache)
    return { texts: [written, logprobs, said.value.logprobs], logits }
  }
  const former = await read({ engine, chat, cache })
  const check = async () => {
    const { messages } = chat
    await using fresh = new TextEngine(model)
    using freshChat = new Chat(model, chatOptions)
    using freshCache = model.createCache(ids.length)
    freshChat.messages.push(...messages)
    const expected = await read({ engine: fresh, chat: freshChat, cache: freshCache })
    const { texts, logits } = await read({ engine, chat, cache })
    expect(texts).toEqual(expected.texts)
    expect(largestDifference(logits, expected.logits)).toBeLessThan(1e-5)
    if (!isSame) expect(largestDifference(logits, former.logits)).toBeGreaterThan(1e-4)
  }
  await change(model, check)
  await check()

  const folder = join(temporary(), name.replaceAll(' ', '-'))
  await model.save(folder, { mergeActive: true, dtype: 'float32' })
  using reopened = await load(folder)
  const batch = packBatch([{ ids, mask: ids.map((_, i) => Number(i > 0)), row: 0 }])
  expect(largestDifference(await model.tokenLogProbs(batch), await reopened.tokenLogProbs(batch))).toBeLessThan(1e-3)
  const [[own], [other]] = [await embeddingsOf(model, [prompt]), await embeddingsOf(reopened, [prompt])]
  expect(largestDifference(own!, other!)).toBeLessThan(1e-3)
})
