/** Embeddings: the loss, runs, what is saved, and the evaluation. */
import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { packBatch } from '../../lib/batches/packing.js'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { embeddingsOf, evaluate } from '../../lib/eval/index.js'
import { loadModel, type Model, mergeModel } from '../../lib/index.js'
import { embed } from '../../lib/objectives/embed.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { largestDifference } from '../golden/files.js'
import { loadStart } from '../golden/objectives.js'
import { useTemporaryFolder, writeFiles } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { localRanks } from '../train/local-ranks.js'
import { expectFiniteDifferences, expectSameInPasses } from './gradients.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const load = (path = DEMO_MODEL): Promise<Model> => loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })

/** An anchor, its positive, and for the second row a negative. */
const documents = [
  { ids: [1, 5, 9], row: 0 },
  { ids: [7, 2], row: 0 },
  { ids: [3, 4, 8, 2, 6], row: 1 },
  { ids: [9], row: 1 },
  { ids: [4, 4, 1], row: 1 },
].map(({ ids, row }) => ({ ids, mask: ids.map(() => 0), row }))

test.each(['mean', 'last'] as const)('with the pooling %s', async (pooling) => {
  using model = await loadStart()
  const batch = packBatch(documents)
  // The loss by its definition, from the hidden states.
  const vectors: number[][] = []
  for (const { ids } of documents) {
    using output = model.forward(packBatch([{ ids, mask: ids.map(() => 0), row: 0 }]))
    const values = Array.from(await output.hidden.data(), Number)
    const width = values.length / ids.length
    const pooled = Array.from({ length: width }, (_, i) => {
      const column = ids.map((_, t) => values[t * width + i]!)
      return pooling === 'last' ? column.at(-1)! : column.reduce((sum, value) => sum + value) / ids.length
    })
    const length = Math.hypot(...pooled)
    vectors.push(pooled.map((value) => value / length))
  }
  const cosine = (a: number, b: number) => vectors[a]!.reduce((sum, value, i) => sum + value * vectors[b]![i]!, 0)
  const lossOf = (anchor: number, positive: number) =>
    Math.log(
      [1, 3, 4].reduce((sum, other) => sum + Math.exp(20 * (cosine(anchor, other) - cosine(anchor, positive))), 0),
    )
  for (const [first, second] of [
    [1, 1],
    [0.5, 3],
  ] as const) {
    const weighted = packBatch(documents.map((one) => ({ ...one, weight: one.row === 0 ? first : second })))
    const { loss, weight } = await embed({ pooling }).loss(model, weighted, { gradients: false })
    expect(weight).toBe(first + second)
    expect(Math.abs((await loss.item()) - first * lossOf(0, 1) - second * lossOf(2, 3))).toBeLessThan(1e-4)
    loss.dispose()
  }
  await expectFiniteDifferences(model, embed({ pooling, temperature: 0.25 }), batch)
  await expectSameInPasses(model, embed({ pooling }), batch, [[packBatch(documents, { padTo: 9 })]])
})

const things = {
  cat: 'meow',
  dog: 'bark',
  cow: 'moo',
  duck: 'quack',
  bee: 'hum',
  owl: 'hoot',
  pig: 'oink',
  lamb: 'bleat',
}
const data = Object.entries(things).map(([name, sound]) => ({
  anchor: `What does a ${name} do`,
  positive: `It will ${sound}`,
}))

const course = (changes: object = {}): TrainOptions =>
  ({
    objective: 'embed',
    method: 'lora',
    rank: 4,
    learningRate: 5e-3,
    scheduler: 'constant',
    batchSize: 8,
    maxSteps: 3,
    data,
    ...changes,
  }) as TrainOptions

async function run(changes: object = {}) {
  using model = await load()
  const losses: number[] = []
  for await (const event of train(model, course(changes))) if (event.type === 'step') losses.push(event.loss)
  return losses
}

test('a run is the same padded and resumed, and its negatives are those of a pass', async () => {
  const whole = await run()
  expect(largestDifference(await run({ packing: false }), whole)).toBeLessThan(1e-4)
  const output = join(folder(), 'half')
  await run({ output, maxSteps: 2 })
  expect(largestDifference(await run({ output, resume: true }), whole.slice(2))).toBe(0)
  // Half of the negatives: about ln 2 less at the beginning.
  const [halved] = await run({ microBatchSize: 4 })
  const [ofRanks] = await Promise.all(localRanks(2).map((ranks) => run({ ranks }))).then(([first]) => first!)
  for (const fewer of [halved!, ofRanks!]) expect(whole[0]! - fewer).toBeGreaterThan(0.3)
})

test('embeddings learn, are saved for sentence-transformers, read back and measured', { timeout: 60_000 }, async () => {
  const output = join(folder(), 'animals')
  await run({ output, maxSteps: 40, pooling: 'last' })
  const merged = join(folder(), 'merged')
  await mergeModel({ model: DEMO_MODEL, adapter: output, output: merged, dtype: 'float32' })
  const json = (name: string) => JSON.parse(readFileSync(join(merged, name), 'utf8'))
  expect(json('modules.json').map(({ type }: { type: string }) => type.split('.').at(-1))).toEqual([
    'Transformer',
    'Pooling',
    'Normalize',
  ])
  expect(json('1_Pooling/config.json')).toMatchObject({ pooling_mode_lasttoken: true, pooling_mode_mean_tokens: false })
  expect(json('sentence_bert_config.json')).toMatchObject({ max_seq_length: 256 })
  using adapted = await load()
  await adapted.loadAdapter(output)
  using whole = await load(merged)
  const texts = data.map(({ anchor }) => anchor)
  const before = await embeddingsOf(adapted, texts)
  const after = await embeddingsOf(whole, texts, { batchSize: 3 })
  for (const [i, vector] of before.entries()) {
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
    expect(largestDifference(after[i]!, vector)).toBeLessThan(1e-4)
  }
  for (const model of [adapted, whole]) {
    expect(model.pooling).toBe('last')
    expect(await evaluate(model, { task: 'embed', data })).toEqual({ ndcgAt10: expect.closeTo(1, 6), rows: 8 })
  }
  const pairs = [
    { sentence1: texts[0], sentence2: data[0]!.positive, score: 5 },
    { sentence1: texts[0], sentence2: texts[0], score: 9 },
    { sentence1: texts[0], sentence2: data[1]!.positive, score: 1 },
  ]
  expect(await evaluate(whole, { task: 'embed', data: pairs })).toEqual({ spearman: expect.closeTo(1, 6), rows: 3 })
})

/** The demo model as sentence-transformers writes it, with these files. */
function embedder(files: Readonly<Record<string, unknown>>, kinds = ['Transformer', 'Pooling']): string {
  const path = join(folder(), 'embedder')
  cpSync(DEMO_MODEL, path, { recursive: true })
  const modules = kinds.map((kind, i) => ({
    idx: i,
    name: `${i}`,
    path: i ? `${i}_${kind}` : '',
    type: `st.modules.${kind}`,
  }))
  const all = { 'modules.json': modules, ...files }
  writeFiles(path, new Map(Object.entries(all).map(([name, json]) => [name, JSON.stringify(json)])))
  return path
}

const PROMPTS = { prompts: { query: 'query: ', document: '' }, default_prompt_name: null }

test('a base of sentence-transformers keeps its pooling, modules and prompts', async () => {
  const files = {
    '1_Pooling/config.json': { embedding_dimension: 64, pooling_mode: 'lasttoken', include_prompt: true },
    '3_Normalize/config.json': {},
    'config_sentence_transformers.json': PROMPTS,
    'sentence_bert_config.json': { max_seq_length: 99, modality_config: { text: {} } },
  }
  const path = embedder(files)
  const warnings: string[] = []
  using model = await loadModel(path, { device: 'cpu', threads: 1, onWarning: (text) => warnings.push(text) })
  expect(model.pooling).toBe('last')
  expect(warnings).toEqual([expect.stringMatching(/has prompts for embeddings \(query\), which are not added/)])
  const output = join(folder(), 'run')
  await train(model, course({ output, maxSteps: 1 })).finished
  await mergeModel({ model: path, adapter: output, output: join(folder(), 'same') })
  for (const name of ['modules.json', ...Object.keys(files)])
    expect(readFileSync(join(folder(), 'same', name)), name).toEqual(readFileSync(join(path, name)))

  using other = await load(path)
  await train(other, course({ output: join(folder(), 'mean'), maxSteps: 1, pooling: 'mean' })).finished
  await mergeModel({ model: path, adapter: join(folder(), 'mean'), output: join(folder(), 'other') })
  using changed = await load(join(folder(), 'other'))
  expect(changed.pooling).toBe('mean')
  expect(JSON.parse(readFileSync(join(folder(), 'other', 'config_sentence_transformers.json'), 'utf8'))).toEqual(
    PROMPTS,
  )
})

test.each<[string, object, string[] | undefined, string]>([
  ['mean', { pooling_mode_mean_tokens: true }, undefined, 'mean'],
  ['the last token', { pooling_mode_lasttoken: true, pooling_mode_cls_token: false }, undefined, 'last'],
  ['the last token, as a list', { pooling_mode: ['lasttoken'] }, ['Transformer', 'Pooling', 'Normalize'], 'last'],
  ['nothing', {}, undefined, 'mean'],
  ['cls', { pooling_mode: 'cls' }, undefined, 'it pools by cls'],
  ['cls, as a flag', { pooling_mode_cls_token: true }, undefined, 'it pools by pooling_mode_cls_token'],
  ['two', { pooling_mode: ['mean', 'max'] }, undefined, 'it pools by mean and max'],
  ['a projection', { pooling_mode: 'mean' }, ['Transformer', 'Pooling', 'Dense'], 'it has the module Dense'],
  ['tokens', {}, ['Transformer'], 'it has no module Pooling'],
])('sentence-transformers pools by %s', async (_, pooling, kinds, expected) => {
  const hasPooling = !kinds || kinds.includes('Pooling')
  using model = await load(embedder(hasPooling ? { '1_Pooling/config.json': pooling } : {}, kinds))
  const embed = () => embeddingsOf(model, ['a'])
  if (expected === 'mean' || expected === 'last') {
    const [one] = await embed()
    expect(one).toEqual((await embeddingsOf(model, ['a'], { pooling: expected }))[0])
    expect(model.pooling).toBe(expected)
    return
  }
  await expect(embed()).rejects.toThrow(expected)
  await expect(train(model, course()).finished).rejects.toThrow(`${expected}: give pooling (mean or last) for others`)
  expect(await embeddingsOf(model, ['a'], { pooling: 'mean' })).toHaveLength(1)
})

test.each([
  ['chats', { modality_config: { text: {}, message: { format: 'flat' } } }, 'by the chat template'],
  ['lower case', { do_lower_case: true }, 'lower-case'],
])('sentence-transformers embeds %s', async (_, transformer, expected) => {
  using model = await load(
    embedder({ '1_Pooling/config.json': { pooling_mode: 'mean' }, 'sentence_bert_config.json': transformer }),
  )
  await expect(embeddingsOf(model, ['a'])).rejects.toThrow(expected)
})

test('the gain of a ranking is that of its definition', async () => {
  using model = await load()
  const rows = [
    { query: 'one', positive: 'two', negative: 'one' },
    { query: 'three', positive: ['three', 'four'] },
  ]
  // "one" is nearest to itself, so its positive is second or lower; of the other, one positive is first.
  const { ndcgAt10 } = await evaluate(model, { task: 'embed', data: rows })
  expect(ndcgAt10).toBeLessThan(1)
  expect(ndcgAt10).toBeGreaterThan((1 / Math.log2(5) + 1 / (1 + 1 / Math.log2(3))) / 2 - 1e-6)
})

test.each<[string, object, string]>([
  ['scored pairs', { data: [{ sentence1: 'a', sentence2: 'b', score: 1 }] }, 'how alike two texts are'],
  ['rows without a positive', { data: [{ anchor: 'a' }] }, "anchor: 'COLUMN', positive: 'COLUMN'"],
  ['an empty text', { data: [{ anchor: 'a', positive: '' }] }, 'the text is empty'],
  ['an unknown pooling', { pooling: 'max' }, 'for pooling but received'],
])('%s: refused', async (_, changes, message) => {
  await expect(run(changes)).rejects.toThrow(message)
})
