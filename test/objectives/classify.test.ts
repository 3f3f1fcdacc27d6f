/** Classification: rows, the head, runs, what is saved, scores of texts and the evaluation. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { lora } from '../../lib/adapters/methods/lora.js'
import { packBatch } from '../../lib/batches/packing.js'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { evaluate, scoresOf } from '../../lib/eval/index.js'
import { generate } from '../../lib/generate/index.js'
import { loadModel, loadTokenizer, type Model, mergeModel, tokeniseRow } from '../../lib/index.js'
import { classify } from '../../lib/objectives/classify.js'
import { lastScores } from '../../lib/objectives/objective.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { goldenPath, largestDifference } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { localRanks } from '../train/local-ranks.js'
import { expectFiniteDifferences, expectSameInPasses, expectWeightsLikeCopies } from './gradients.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const load = (path = DEMO_MODEL): Promise<Model> => loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })

const MOODS = {
  good: ['fine', 'warm', 'bright', 'kind'],
  bad: ['cold', 'dark', 'lost', 'torn'],
  none: ['tall', 'wide'],
}
const rows = Object.entries(MOODS).flatMap(([label, words]) =>
  words.flatMap((word) => ['day', 'house', 'coat'].map((thing) => ({ text: `The ${thing} is ${word}`, label }))),
)

const course = (changes: object = {}): TrainOptions =>
  ({
    objective: 'classify',
    method: 'lora',
    rank: 4,
    learningRate: 5e-3,
    scheduler: 'constant',
    batchSize: 10,
    maxSteps: 4,
    data: rows,
    ...changes,
  }) as TrainOptions

async function run(changes: object = {}) {
  using model = await load()
  const steps: { loss: number; accuracy: number }[] = []
  for await (const event of train(model, course(changes)))
    if (event.type === 'step') steps.push({ loss: event.loss, accuracy: event.metrics!.accuracy! })
  const trained: number[] = []
  for (const { parameter } of model.trainableParameters()) trained.push(...((await parameter.data()) as Float32Array))
  return { steps, trained, losses: steps.map(({ loss }) => loss) }
}

const documents = [
  { ids: [1, 5, 9], label: 0 },
  { ids: [7], label: 2 },
  { ids: [3, 4, 8, 2, 6], label: 1 },
].map(({ ids, label }, row) => ({ ids, mask: ids.map(() => 0), label, row }))

async function withHead(): Promise<Model> {
  const model = await load()
  model.addHead(['a', 'b', 'c'], { seed: 3 })
  await model.addAdapter('own', lora({ rank: 2, modulesToSave: ['score'] }))
  return model
}

test('the gradient is that of finite differences, and the same padded and cut into passes', async () => {
  using model = await withHead()
  const batch = packBatch(documents)
  await expectFiniteDifferences(model, classify(), batch)
  await expectSameInPasses(model, classify(), batch, [
    [packBatch(documents, { padTo: 9 })],
    documents.map((one) => packBatch([one])),
  ])
})

test('smoothed labels: the loss is that of the formula in float64, also with weights, and its gradient that of differences', async () => {
  using model = await withHead()
  const [epsilon, weights] = [0.3, [1, 2.5, 0.5]]
  const objective = classify({ labelSmoothing: epsilon })
  const batch = packBatch(documents.map((document, i) => ({ ...document, weight: weights[i]! })))
  const scores = await lastScores(model, batch, false)
  const values = Array.from(await scores.data(), Number)
  scores.dispose()
  const losses = documents.map(({ label }, i) => {
    const own = values.slice(3 * i, 3 * i + 3)
    const logSum = Math.log(own.reduce((sum, score) => sum + Math.exp(score), 0))
    const minusLogs = own.map((score) => logSum - score)
    return (1 - epsilon) * minusLogs[label]! + (epsilon / 3) * minusLogs.reduce((sum, value) => sum + value, 0)
  })
  const { loss, weight } = await objective.loss(model, batch, { gradients: false })
  const wanted = losses.reduce((sum, value, i) => sum + weights[i]! * value, 0)
  expect(weight).toBe(4)
  expect(Math.abs((await loss.item()) - wanted)).toBeLessThan(1e-5 * wanted)
  loss.dispose()
  await expectFiniteDifferences(model, objective, batch)
  await expect(run({ labelSmoothing: 1.5 })).rejects.toThrow('for labelSmoothing but received 1.5')
})

const uneven = rows.filter(({ label }, i) => label === 'good' || i % 4 === 0)

test('weights of labels are those of their rows', async () => {
  const { losses } = await run({ data: uneven, classWeights: 'balanced' })
  const count = (label: string) => uneven.filter((row) => row.label === label).length
  const factor = (label: string) => uneven.length / (3 * count(label))
  const weighted = await run({ data: uneven.map((row) => ({ ...row, weight: factor(row.label) })) })
  expect(largestDifference(weighted.losses, losses)).toBeLessThan(1e-5)
  const classWeights = Object.fromEntries(['good', 'bad', 'none'].map((label) => [label, factor(label)]))
  expect(largestDifference((await run({ data: uneven, classWeights })).losses, losses)).toBeLessThan(1e-5)
  expect((await run({ data: uneven })).losses[0]).not.toBeCloseTo(losses[0]!, 3)
  const others = { classWeights: { good: 2, better: 1 } }
  await expect(run(others)).rejects.toThrow('names of labels (bad, good, none) for classWeights but received "better"')
})

test('a new head learns by the default rates, and a rate of its own is recorded', async () => {
  const usual = { learningRate: undefined, maxSteps: 12 }
  const output = join(folder(), 'rates')
  const [own, slow] = [await run({ ...usual, output }), await run({ ...usual, headLearningRate: 2e-4 })]
  expect(slow.losses.at(-1)! - own.losses.at(-1)!).toBeGreaterThan(0.1)
  const { options } = parse(readFileSync(join(output, 'run.yaml'), 'utf8'))
  expect(options).toMatchObject({ learningRate: 2e-4, headLearningRate: 2e-3 })
  await expect(run({ scheduler: undefined, learningRate: () => 1e-3, headLearningRate: 1e-2 })).rejects.toThrow(
    'headLearningRate does not go with a function as learningRate',
  )
  await expect(run({ objective: 'sft', data: 'a', headLearningRate: 1e-2 })).rejects.toThrow(
    'headLearningRate does not go with objective sft',
  )
})

test('weights of rows are copies, and rows of weight 0 are left out', async () => {
  using model = await withHead()
  await expectWeightsLikeCopies(model, classify(), documents)
  const [first, ...others] = rows
  const { losses } = await run({ data: others, shuffle: false })
  expect((await run({ data: [{ ...first, weight: 0 }, ...others], shuffle: false })).losses).toEqual(losses)
  const doubled = await run({ data: others.map((row, i) => ({ ...row, weight: i === 0 ? 9 : 1 })), shuffle: false })
  expect(doubled.losses[0]).not.toBeCloseTo(losses[0]!, 4)
  await expect(run({ data: rows.map((row) => ({ ...row, weight: 0 })) })).rejects.toMatchObject({
    code: 'nothing-to-train',
  })
})

test('a run is the same in micro-batches, padded, over two ranks and resumed', async () => {
  const own = { learningRate: 1e-3, headLearningRate: 5e-3, classWeights: 'balanced' }
  const whole = await run({ ...own, output: join(folder(), 'whole') })
  const two = await Promise.all(localRanks(2).map((ranks) => run({ ...own, ranks })))
  for (const other of [await run({ ...own, microBatchSize: 3 }), await run({ ...own, packing: false }), ...two]) {
    expect(largestDifference(other.losses, whole.losses)).toBeLessThan(1e-5)
    // Adam's first steps follow the sign of a gradient, however small.
    expect(largestDifference(other.trained, whole.trained)).toBeLessThan(2e-4)
  }
  const output = join(folder(), 'half')
  await run({ ...own, output, maxSteps: 2 })
  const rest = await run({ ...own, output, resume: true })
  expect(rest.losses).toEqual(whole.losses.slice(2))
  expect(rest.trained).toEqual(whole.trained)
})

test('a classifier learns, is saved, merged and read back, and is measured', { timeout: 60_000 }, async () => {
  const output = join(folder(), 'moods')
  const { steps } = await run({ output, maxSteps: 30, evalData: rows.slice(0, 6) })
  expect(steps.at(-1)!.accuracy).toBe(1)
  const merged = join(folder(), 'merged')
  await mergeModel({ model: DEMO_MODEL, adapter: output, output: merged, dtype: 'float32' })
  using adapted = await load()
  await adapted.loadAdapter(output)
  using classifier = await load(merged)
  const texts = rows.map(({ text }) => text)
  const scores = await scoresOf(adapted, texts)
  expect(largestDifference((await scoresOf(classifier, texts)).flat(), scores.flat())).toBeLessThan(1e-4)
  expect(await scoresOf(adapted, texts.slice(2, 3), { batchSize: 1 })).toEqual([
    scores[2]!.map((score) => expect.closeTo(score, 4)),
  ])
  for (const model of [adapted, classifier]) {
    expect(model.labels).toEqual(['bad', 'good', 'none'])
    const result = await evaluate(model, { task: 'classify', data: rows })
    expect(result).toEqual({ accuracy: 1, macroF1: 1, f1: { bad: 1, good: 1, none: 1 }, auc: 1, rows: rows.length })
  }
  const pairs = [{ prompt: 'a', chosen: 'b', rejected: 'c' }]
  await expect(evaluate(classifier, { task: 'reward', data: pairs })).rejects.toThrow(
    /a classifier of 3 labels; measure/,
  )
  const wrong = rows.map((row) => ({ ...row, label: row.label === 'none' ? 'good' : row.label }))
  const { accuracy, f1, macroF1 } = await evaluate(classifier, { task: 'classify', data: wrong })
  expect(accuracy).toBeCloseTo(24 / 30, 10)
  expect(f1).toEqual({ bad: 1, good: expect.closeTo(24 / 30, 10), none: 0 })
  expect(macroF1).toBeCloseTo((1 + 24 / 30) / 3, 10)
  await expect(generate(classifier, { prompt: 'a', maxNewTokens: 1 })).rejects.toMatchObject({ code: 'no-head' })
  // A run goes on with the classifier's labels, of which its rows may have a part; a number is a place in them.
  const some = [
    { text: 'The day is fine', label: 'good' },
    { text: 'The day is dark', label: 0 },
  ]
  const more = train(classifier, course({ data: some, maxSteps: 1, batchSize: 2 }))
  await more.finished
  expect(classifier.labels).toEqual(['bad', 'good', 'none'])
})

test.each(['none', goldenPath('templates/chatml.jinja')])(
  'a prompt and its answer become the tokens that they are in a pair, by the template %s',
  async (template) => {
    const how = { tokenizer: await loadTokenizer(goldenPath('tokenizers/small-bpe')), template }
    const pair = { prompt: 'How are you', chosen: 'Fine', rejected: 'Bad' }
    const [chosen] = (await tokeniseRow(pair, { ...how, rows: 'pairs' })).documents
    const row = { prompt: 'How are you', completion: 'Fine', label: 'x' }
    const { documents } = await tokeniseRow(row, { ...how, rows: 'labelled', labels: ['w', 'x'] })
    expect(documents).toEqual([{ ids: chosen!.ids, mask: new Uint8Array(chosen!.ids.length), label: 1 }])
  },
)

test('every weight can be trained, the head among them', async () => {
  const output = join(folder(), 'full')
  await run({ method: 'full', rank: undefined, output, maxSteps: 2, learningRate: 1e-3 })
  using model = await load(join(output, 'model'))
  expect(model.labels).toEqual(['bad', 'good', 'none'])
})

test.each<[string, object, string]>([
  [
    'a row without a label',
    { data: [...rows, { text: 'a', label: null }] },
    'label: expected a label, a text or a whole',
  ],
  ['a column without labels', { data: [{ text: 'a' }] }, "text: 'text', label: 'COLUMN'"],
  ['one label only', { data: rows.slice(0, 3) }, 'All rows have the label good'],
  ['an unknown label', { labels: ['good', 'bad'] }, 'expected one of the labels good, bad but received "none"'],
  ['an unknown label of the evaluation', { evalData: [{ text: 'a', label: 'x' }] }, 'expected one of the labels bad'],
  ['an empty text', { data: [...rows, { text: '', label: 'bad' }] }, 'the text is empty'],
  ['rows that are split', { longRows: 'split' }, 'applies to the whole text'],
  ['labels of another objective', { objective: 'sft', labels: ['a', 'b'] }, 'labels does not go with objective sft'],
])('%s is refused', async (_, changes, message) => {
  await expect(run(changes)).rejects.toThrow(message)
})

test('an adapter of another number of labels, and one without a head, are refused', async () => {
  const output = join(folder(), 'three')
  await run({ output, maxSteps: 1 })
  using two = await load()
  two.addHead(['a', 'b'])
  await expect(two.loadAdapter(output)).rejects.toThrow('its labels are bad, good, none, and the model')
  const pair = rows.filter(({ label }) => label !== 'none')
  await expect(run({ adapter: output, data: pair })).rejects.toThrow(
    'has the 3 labels bad, good, none, and the objective 2',
  )
  expect(() => two.addHead(['c'])).toThrow('has a head already')
  using plain = await load()
  await plain.addAdapter('own', lora({ rank: 2 }))
  await expect(train(plain, course()).finished).rejects.toThrow('the active adapter own has none')
  await expect(scoresOf(plain, ['a'])).rejects.toMatchObject({ code: 'no-head' })
})
