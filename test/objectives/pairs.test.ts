/** Objectives of pairs in a run: packed and padded, cut into passes, over ranks, resumed, evaluated; and finite differences. */
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { lora } from '../../lib/adapters/methods/lora.js'
import { packBatch } from '../../lib/batches/packing.js'
import type { Model } from '../../lib/models/model.js'
import { cpo } from '../../lib/objectives/cpo.js'
import { dpo } from '../../lib/objectives/dpo.js'
import { kto } from '../../lib/objectives/kto.js'
import type { ForwardModel, Objective } from '../../lib/objectives/objective.js'
import { orpo } from '../../lib/objectives/orpo.js'
import { reward } from '../../lib/objectives/reward.js'
import { simpo } from '../../lib/objectives/simpo.js'
import { mul } from '../../lib/tensor/operations/arithmetic.js'
import { scope } from '../../lib/tensor/scope.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { drawn } from '../drawn.js'
import { goldenPath, largestDifference } from '../golden/files.js'
import {
  answersOf,
  batchOfPairs,
  evaluated,
  type GoldenPair,
  judgedAnswersOf,
  loadStart,
  objectiveOf,
} from '../golden/objectives.js'
import { loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { localRanks } from '../train/local-ranks.js'
import { expectFiniteDifferences, expectSameInPasses, expectWeightsLikeCopies } from './gradients.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const { rows, training } = objectiveOf<GoldenPair>('dpo')

const objectives: [string, () => Objective, start?: string][] = [
  ['dpo', () => dpo()],
  ['ipo', () => dpo({ lossType: ['ipo'], beta: 0.4 })],
  ['label smoothing', () => dpo({ labelSmoothing: 0.2, beta: 1.3 })],
  ['robust', () => dpo({ lossType: ['robust'], labelSmoothing: 0.1 })],
  ['rpo', () => dpo({ lossType: ['sigmoid', 'sft'], lossWeights: [1, 0.3] })],
  ['aot', () => dpo({ lossType: ['aot'], labelSmoothing: 0.1, beta: 0.5 })],
  ['aot_unpaired', () => dpo({ lossType: ['aot_unpaired', 'sft'], beta: 0.5, ldAlpha: 0.5 })],
  ['kto', () => kto({ beta: 0.4, undesirableWeight: 1.5 })],
  ['orpo', () => orpo({ beta: 0.5 })],
  ['cpo', () => cpo({ labelSmoothing: 0.1 })],
  ['simpo', () => simpo({ cpoAlpha: 0.5, alphapoAlpha: 0.2 })],
  ['reward', () => reward({ centerRewardsCoefficient: 0.1 }), 'reward-start'],
]

test('the reference may be another adapter', async () => {
  using model = await loadStart()
  await model.loadAdapter(goldenPath('objectives/start'), 'sft')
  model.setActiveAdapters(['start'])
  for (const objective of [dpo({ referenceAdapter: 'sft' }), kto({ referenceAdapter: 'sft' })]) {
    const { loss, metrics } = await evaluated(model, objective, [batchOfPairs(rows)])
    expect(loss).toBeCloseTo(objective.name === 'dpo' ? Math.LN2 : 0.5, 6)
    expect(metrics.rewards).toBeCloseTo(0, 6)
  }
})

test('orpo is finite for an answer that is certain', async () => {
  using model = await loadTiny('tiny-untied')
  model.addAdapter('a', lora({ rank: 2 }))
  const certain = {
    ...model,
    forwardAsync: async (...call: Parameters<Model['forwardAsync']>) => {
      const states = await model.forwardAsync(...call)
      return {
        ...states,
        hidden: states.hidden,
        dispose: () => states.dispose(),
        tokenLogProbs: (targets: ArrayLike<number>) => scope(() => mul(states.tokenLogProbs(targets), 0)),
      }
    },
  }
  const { loss } = await orpo().loss(certain as unknown as ForwardModel, batchOfPairs(rows), { gradients: true })
  await loss.backward()
  expect(Number.isFinite(await loss.item())).toBe(true)
  for (const { parameter } of model.trainableParameters()) {
    expect([...((await parameter.grad?.data()) ?? [])].every((value) => Number.isFinite(Number(value)))).toBe(true)
    parameter.zeroGrad()
  }
  loss.dispose()
})

describe.each(objectives)('%s', (name, objective, start) => {
  const answers = name === 'kto' ? judgedAnswersOf : answersOf
  test('has the gradient of finite differences, on pairs of all lengths', async () => {
    using model = await loadStart(start)
    const odd: GoldenPair[] = [
      { prompt: [1], chosen: [2], rejected: [5, 2] },
      { prompt: [1, 7, 9], chosen: [4, 5, 6, 7, 8, 9, 10, 11, 2], rejected: [3] },
    ]
    const isFixed = !name.startsWith('aot')
    await expectFiniteDifferences(model, objective(), packBatch(answers([...odd, ...rows.slice(0, 1)])), isFixed)
  })

  // The losses of AOT refuse weights.
  if (!name.startsWith('aot'))
    test('a pair that counts twice is two pairs', async () => {
      using model = await loadStart(start)
      await expectWeightsLikeCopies(model, objective(), answers(rows))
    })

  test('has the same loss and gradient packed, padded, and cut into passes', async () => {
    using model = await loadStart(start)
    await expectSameInPasses(model, objective(), packBatch(answers(rows)), [
      [packBatch(answers(rows), { padTo: 19 })],
      [[0], [1, 2, 3], [4]].map((some) => packBatch(answers(rows).filter(({ row }) => some.includes(row)))),
    ])
  })
})

const data = training.rows.map(({ prompt, chosen, rejected }) => ({
  prompt_ids: prompt,
  chosen_ids: chosen,
  rejected_ids: rejected,
}))

const judged = data.map(({ prompt_ids, chosen_ids, rejected_ids }, i) => ({
  prompt_ids,
  completion_ids: i % 3 === 0 ? rejected_ids : chosen_ids,
  label: i % 3 !== 0,
}))

function file(name: string, values: readonly object[]): string {
  const path = join(folder(), name)
  writeFileSync(path, values.map((value) => `${JSON.stringify(value)}\n`).join(''))
  return path
}

const course = (changes: Partial<TrainOptions> = {}): TrainOptions =>
  ({
    objective: dpo({ lossType: ['sigmoid', 'sft'], lossWeights: [1, 0.1] }),
    method: 'lora',
    rank: 2,
    dropout: 0.2,
    learningRate: 1e-3,
    scheduler: 'constant',
    batchSize: 5,
    maxSteps: 4,
    data: file('pairs.jsonl', data),
    ...changes,
  }) as TrainOptions

interface Ended {
  losses: number[]
  metrics: (Readonly<Record<string, number>> | undefined)[]
  evalLosses: number[]
  adapter: Float32Array[]
}

async function run(changes: Partial<TrainOptions> = {}): Promise<Ended> {
  using own = await loadTiny('tiny-untied')
  const ended: Ended = { losses: [], metrics: [], evalLosses: [], adapter: [] }
  const run = train(own, course(changes))
  for await (const event of run) {
    if (event.type === 'evaluation') ended.evalLosses.push(event.evalLoss)
    if (event.type !== 'step') continue
    ended.losses.push(event.loss)
    ended.metrics.push(event.metrics)
  }
  await run.finished
  for (const { parameter } of own.trainableParameters()) ended.adapter.push((await parameter.data()) as Float32Array)
  return ended
}

const ofKto = (): Partial<TrainOptions> => ({
  objective: kto({ undesirableWeight: 1.2 }),
  data: file('judged.jsonl', judged),
})

const courses: [string, () => Partial<TrainOptions>][] = [
  ['dpo', () => ({})],
  ['aot', () => ({ objective: dpo({ lossType: ['aot'] }) })],
  ['aot_unpaired', () => ({ objective: dpo({ lossType: ['aot_unpaired', 'sft'] }) })],
  ['orpo', () => ({ objective: 'orpo' })],
  ['kto', ofKto],
  ['reward', () => ({ objective: reward({ centerRewardsCoefficient: 0.1 }) })],
]
test.each(drawn('courses on pairs', courses, 2))(
  'a run of %s is the same in micro-batches, padded and over two ranks',
  async (_, more) => {
    const same = (changes: Partial<TrainOptions> = {}) => run({ ...more(), ...changes })
    const whole = await same()
    expect(whole.losses[0]).not.toBe(whole.losses[3])
    const two = await Promise.all(localRanks(2).map((ranks) => same({ ranks })))
    for (const other of [
      await same({ microBatchSize: 1 }),
      await same({ packing: false, microBatchSize: 2 }),
      ...two,
    ]) {
      expect(largestDifference(other.losses, whole.losses)).toBeLessThan(1e-5)
      expect(
        largestDifference(
          other.adapter.flatMap((one) => [...one]),
          whole.adapter.flatMap((one) => [...one]),
        ),
      ).toBeLessThan(1e-5)
      expect(other.metrics.map((metrics) => metrics!.accuracy)).toEqual(
        whole.metrics.map((metrics) => metrics!.accuracy),
      )
    }
  },
)

test('a run resumes with the same bits, and only with the same options of its objective', async () => {
  const whole = await run({ output: join(folder(), 'whole') })
  const output = join(folder(), 'half')
  await run({ output, maxSteps: 2 })
  await expect(run({ output, resume: true, beta: 0.3 })).rejects.toThrow('beta')
  const rest = await run({ output, resume: true })
  expect(rest.losses).toEqual(whole.losses.slice(2))
  expect(rest.adapter).toEqual(whole.adapter)
  const { options } = parse(readFileSync(join(output, 'run.yaml'), 'utf8'))
  expect(options).toMatchObject({ objective: 'dpo', lossType: ['sigmoid', 'sft'], lossWeights: [1, 0.1] })
})

test('a run of a reward model resumes with the same bits, its head too', async () => {
  const whole = await run({ objective: 'reward', output: join(folder(), 'whole-reward') })
  const output = join(folder(), 'half-reward')
  await run({ objective: 'reward', output, maxSteps: 2 })
  const rest = await run({ objective: 'reward', output, resume: true })
  expect(rest.losses).toEqual(whole.losses.slice(2))
  expect(rest.adapter).toEqual(whole.adapter)
  using model = await loadTiny('tiny-untied')
  await model.loadAdapter(output)
  expect(model.labels).toEqual(['LABEL_0'])
})

test('a run of kto resumes with the same bits', async () => {
  const whole = await run({ ...ofKto(), output: join(folder(), 'whole-kto') })
  const output = join(folder(), 'half-kto')
  await run({ ...ofKto(), output, maxSteps: 2 })
  const rest = await run({ ...ofKto(), output, resume: true })
  expect(rest.losses).toEqual(whole.losses.slice(2))
  expect(rest.adapter).toEqual(whole.adapter)
})

const referring: [string, (options: { precomputeReference?: boolean }) => Partial<TrainOptions>][] = [
  ['dpo', (options) => ({ objective: dpo(options) })],
  ['aot', (options) => ({ objective: dpo({ ...options, lossType: ['aot'] }) })],
  ['kto', (options) => ({ ...ofKto(), objective: kto(options) })],
]
test.each(drawn('precomputed references', referring, 1))(
  'a precomputed reference of %s has the losses of one that each step computes, and is kept',
  async (name, of) => {
    const once = of({ precomputeReference: true })
    const whole = await run(of({}))
    const output = join(folder(), `precomputed-${name}`)
    await run({ ...once, output, maxSteps: 2 })
    const { ino } = statSync(join(output, 'kept.bin'))
    const rest = await run({ ...once, output, resume: true })
    expect(statSync(join(output, 'kept.bin')).ino).toBe(ino)
    expect(largestDifference(rest.losses, whole.losses.slice(2))).toBeLessThan(1e-6)
    const two = await Promise.all(localRanks(2).map((ranks) => run({ ...once, ranks })))
    for (const other of [await run({ ...once, microBatchSize: 1 }), await run({ ...once, packing: false }), ...two])
      expect(largestDifference(other.losses, whole.losses)).toBeLessThan(1e-5)
  },
)

test.each<[string, Partial<TrainOptions>]>([
  ['whole models', { method: 'full', rank: undefined, dropout: undefined, learningRate: 1e-3 }],
  ['weights that adapters are merged into', { method: 'mora', mergeEvery: 2, dropout: 0 }],
])('a precomputed reference goes with %s, and is that of the first step', async (name, how) => {
  const output = join(folder(), `changed-${name.length}`)
  const options = { ...how, objective: dpo({ precomputeReference: true, beta: 0.3 }), batchSize: data.length, output }
  const whole = await run(options)
  expect(whole.losses[0]).toBeCloseTo(Math.LN2, 6)
  const of = (step: number, answer: string) => whole.metrics[step]![`logps/${answer}`]!
  const moved = (answer: string) => of(3, answer) - of(0, answer)
  expect(whole.metrics[3]!.margins).toBeCloseTo(0.3 * (moved('chosen') - moved('rejected')), 4)
  expect(whole.metrics[3]!.margins).toBeGreaterThan(0.01)
  const half = { ...options, output: `${output}-half` }
  await run({ ...half, maxSteps: 3 })
  const rest = await run({ ...half, resume: true })
  expect(rest.losses).toEqual(whole.losses.slice(3))
  expect(rest.adapter).toEqual(whole.adapter)
  rmSync(join(half.output, 'kept.bin'))
  await expect(run({ ...half, resume: true, maxSteps: 5 })).rejects.toThrow(/kept\.bin does not hold what was computed/)
})

test('evaluation data are pairs too, and metrics.jsonl has their means', async () => {
  const output = join(folder(), 'evaluated')
  const { evalLosses } = await run({ output, evalData: data.slice(0, 7), evalEvery: 2 })
  expect(evalLosses.length).toBe(2)
  const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines.length).toBe(6)
  for (const line of lines) {
    for (const name of ['rewards', 'margins', 'accuracy', 'logps/chosen'])
      expect(Number.isFinite(line[name]), name).toBe(true)
  }
})

test('a stream of pairs has the losses of rows that are read first, which their weights change', async () => {
  const weighted = data.map((row, i) => ({ ...row, weight: i % 3 }))
  const whole = await run({ data: weighted, shuffle: false })
  const streamed = await run({ data: weighted, shuffle: false, shuffleBuffer: 3 })
  expect(streamed.losses).toEqual(whole.losses)
  const ones = await run({ data: weighted.map((row) => ({ ...row, weight: Math.min(1, row.weight) })), shuffle: false })
  expect(ones.losses[1]).not.toBeCloseTo(whole.losses[1]!, 4)
})

test.each([
  [{ method: 'full', rank: undefined, dropout: undefined }, 'method full does not go with objective dpo'],
  [{ method: 'mora', mergeEvery: 2, dropout: 0 }, 'mergeEvery does not go with objective dpo'],
  [{ objective: 'sft', beta: 0.2 }, 'beta does not go with objective sft'],
  [
    { objective: 'kto', method: 'full', rank: undefined, dropout: undefined },
    'method full does not go with objective kto',
  ],
  [{ objective: 'kto', shuffleBuffer: 8 }, 'but kto reads all before the first step'],
  [{ objective: 'dpo', lossType: ['kto'] }, 'for lossType but received ["kto"]'],
  [{ objective: 'cpo', lossType: ['robust'] }, 'Expected a list of one of sigmoid, hinge, ipo for lossType'],
  [{ objective: 'cpo', lossType: ['hinge', 'ipo'] }, 'Expected a list of one of sigmoid, hinge, ipo for lossType'],
  [{ objective: dpo(), beta: 0.3 }, "give it to dpo({ beta }), or name the objective ('dpo')"],
  [{ objective: 'orpo', lossType: ['hinge'] }, 'lossType does not go with objective orpo'],
  [{ objective: 'dpo', lossWeights: [1, 2] }, 'a weight for each of the 1 losses'],
  [{ objective: 'dpo', labelSmoothing: 0.5 }, 'below 0.5 for labelSmoothing'],
  [
    { objective: dpo({ lossType: ['aot'] }), data: data.map((row, i) => ({ ...row, weight: i })) },
    'aot_unpaired of dpo sort the pairs of a step, so rows with a weight do not go with them',
  ],
  [{ longRows: 'split' }, 'longRows split does not go with rows of answers'],
  [{ trainOn: 'all' }, 'trainOn all does not go with rows of answers'],
])('%j is refused', async (changes, message) => {
  await expect(run(changes as Partial<TrainOptions>)).rejects.toThrow(message)
})
