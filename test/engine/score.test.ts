/** Continuations scored by the engine against whole rows without a cache. */
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { packBatch } from '../../lib/batches/packing.js'
import { randomStream } from '../../lib/common/random.js'
import { Engine, PAGE, type ScoredPrompt } from '../../lib/engine/index.js'
import { GREEDY } from '../../lib/generate/index.js'
import type { Model } from '../../lib/models/index.js'
import { ForwardPasses } from '../../lib/models/network/forward-passes.js'
import { describeFamilies, familyNames, loadFamily } from '../golden/families.js'
import { loadTiny } from '../golden/tiny-models.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

afterEach(() => vi.restoreAllMocks())
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const random = randomStream(1, 'score test')
const tokens = (count: number, vocabulary = 50): number[] =>
  Array.from({ length: count }, () => 3 + random.integer(vocabulary - 3))

const shared = tokens(100)
const questions = [
  { ids: tokens(1), continuations: [[5], [6, 7, 8]] },
  { ids: [...shared, ...tokens(40)], continuations: [tokens(1), tokens(4), tokens(1), tokens(70)] },
  { ids: [...shared, ...tokens(9)], continuations: [tokens(1), tokens(1)] },
  { ids: shared.slice(0, 64), continuations: [tokens(2), tokens(1)] },
]

/** Sums of log-probabilities of whole rows, in float64. */
async function sumsOf(
  model: Pick<Model, 'tokenLogProbs'>,
  { ids, continuations }: (typeof questions)[number],
): Promise<number[]> {
  const rows = continuations.map((continuation, row) => {
    const whole = [...ids, ...continuation]
    return { ids: whole, mask: new Uint8Array(whole.length).fill(1, ids.length), row }
  })
  const values = [...(await model.tokenLogProbs(packBatch(rows)))]
  return continuations.map(({ length }) => values.splice(0, length).reduce((sum, value) => sum + value, 0))
}

const scored = (engine: Engine, ...[prompt, options]: [ScoredPrompt, Parameters<Engine['score']>[1]?]) =>
  engine.score([prompt], options)[0]!

function expectNear(found: readonly number[], wanted: readonly number[]): void {
  expect(found.length).toBe(wanted.length)
  for (const [i, value] of found.entries()) expect(Math.abs(value - wanted[i]!)).toBeLessThan(2e-4)
}

/** Returns how many tokens forward passes read from now on. */
function watchReads(): () => number {
  const passes = ['nextLogitsOf', 'logProbsOf'] as const
  const spies = passes.map((name) => vi.spyOn(ForwardPasses.prototype, name))
  return () =>
    spies.flatMap(({ mock }) => mock.calls.flatMap(([parts]) => parts)).reduce((sum, { ids }) => sum + ids.length, 0)
}

test('sums are those of whole rows, whatever else is computed, and bit for bit the same each time', async () => {
  using model = await loadTiny('tiny-untied')
  await using engine = new Engine(model, { tokens: 4096, sequences: 3 })
  const stream = engine.write({
    ids: tokens(20),
    maxNewTokens: 40,
    sampling: GREEDY,
    stopIds: new Set(),
    random: randomStream(0, 'greedy'),
  })
  const text = (async () => {
    let count = 0
    for await (const _ of stream) count++
    return count
  })()
  const sums = await Promise.all(engine.score(questions))
  for (const [i, one] of questions.entries()) expectNear(sums[i]!, await sumsOf(model, one))
  expect(await text).toBe(40)
  await using other = new Engine(model, { tokens: 512 })
  expect(await Promise.all(other.score(questions))).toEqual(sums)
})

test('a prompt is read once, and what neighbours have in common', async () => {
  using model = await loadTiny('tiny-untied')
  await using engine = new Engine(model, { tokens: 4096 })
  const reads = watchReads()
  const [, one, other] = questions
  await Promise.all(engine.score([one!, other!]))
  expect(reads()).toBe(100 + 40 + 9 + 3 + 69)
})

test('prompts of two subjects share what each subject begins with', async () => {
  using model = await loadTiny('tiny-untied')
  await using engine = new Engine(model, { tokens: 4096 })
  const system = tokens(70)
  const subjects = [1, 2].map((first) => [...system, first, ...tokens(79)])
  const prompts = subjects.flatMap((subject) =>
    [10, 20, 30].map((first) => ({ ids: [...subject, first, ...tokens(4)], continuations: [[5], [6]] })),
  )
  const reads = watchReads()
  const sums = await Promise.all(engine.score(prompts))
  expect(reads()).toBe(150 + 3 * 5 + (150 - PAGE) + 3 * 5)
  for (const [i, one] of prompts.entries()) expectNear(sums[i]!, await sumsOf(model, one))
})

test('adapters of a request, a signal, and what does not fit', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', lora({ rank: 2 }))
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.2 * random.normal()))
  await using engine = new Engine(model, { tokens: 256 })
  const [first, one] = questions
  expectNear(await scored(engine, one!), await sumsOf(model, one!))
  expectNear(await scored(engine, one!, { adapters: [] }), await sumsOf(model.withAdapters([]), one!))
  // Together they need more memory than there is.
  const many = { ids: tokens(200), continuations: [tokens(50), tokens(50)] }
  expectNear(await scored(engine, many), await sumsOf(model, many))
  const long = { ids: tokens(250), continuations: [[5], tokens(20)] }
  await expect(scored(engine, { ...long, name: 'row 3' })).rejects.toThrow(
    "row 3 has 250 tokens, which leaves no room for an answer within the model's 256 positions",
  )
  const reason = new Error('enough')
  await expect(scored(engine, first!, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  const controller = new AbortController()
  const scores = scored(engine, one!, { signal: controller.signal })
  controller.abort(reason)
  await expect(scores).rejects.toBe(reason)
  expectNear(await scored(engine, first!), await sumsOf(model, first!))
  expect(engine.usage).toMatchObject({ running: 0, waiting: 0, pagesUsed: 0 })
})

describeFamilies(familyNames, (name, folder) => {
  test(`${name}: sums are those of whole rows`, async () => {
    using model = await loadFamily(folder)
    const vocabulary = Math.min(50, model.config.vocabularySize)
    const ids = tokens(12, vocabulary)
    const one = { ids, continuations: [1, 3, 2].map((length) => tokens(length, vocabulary)) }
    await using engine = new Engine(model, { tokens: 1024, sequences: 2 })
    expectNear(await scored(engine, one), await sumsOf(model, one))
  })
})
