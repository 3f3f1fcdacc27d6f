/** Distillation in a run: packed, cut into passes, over ranks, resumed; its teacher; and finite differences. */
import { cpSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { packBatch } from '../../lib/batches/packing.js'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { loadModel } from '../../lib/models/index.js'
import { sft } from '../../lib/objectives/cross-entropy.js'
import { distill } from '../../lib/objectives/distill.js'
import type { Objective } from '../../lib/objectives/objective.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { drawn } from '../drawn.js'
import { goldenPath, largestDifference } from '../golden/files.js'
import {
  answerOf,
  evaluated,
  type GoldenCompletion,
  loadStart,
  loadTeacher,
  objectiveOf,
} from '../golden/objectives.js'
import { loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { localRanks } from '../train/local-ranks.js'
import { expectFiniteDifferences, expectSameInPasses } from './gradients.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const { rows } = objectiveOf<GoldenCompletion>('distillation')
const pieces = rows.map(({ prompt, completion }, row) => ({ ...answerOf(prompt, completion), row }))
const teacher = goldenPath('objectives/teacher')

describe.each(drawn('β of distillation', [0, 0.3, 1], 1))('with β = %d', (beta) => {
  test('the gradient is that of finite differences', async () => {
    using model = await loadStart()
    using teacher = await loadTeacher()
    await expectFiniteDifferences(model, distill({ teacher, beta, temperature: 1.5 }), packBatch(pieces))
  })

  test('loss and gradient are the same packed, padded, and cut into passes', async () => {
    using model = await loadStart()
    using teacher = await loadTeacher()
    await expectSameInPasses(model, distill({ teacher, beta }), packBatch(pieces), [
      [packBatch(pieces, { padTo: 23 })],
      [pieces.slice(0, 1), pieces.slice(1)].map((some) => packBatch(some)),
    ])
  })
})

const data = rows.map(({ prompt, completion }) => ({ prompt_ids: prompt, completion_ids: completion }))

const course = (changes: Partial<TrainOptions> = {}): TrainOptions =>
  ({
    objective: 'distill',
    teacher,
    beta: 0.2,
    method: 'lora',
    rank: 2,
    dropout: 0.2,
    learningRate: 1e-3,
    scheduler: 'constant',
    batchSize: 4,
    maxSteps: 4,
    data: data.map(({ prompt_ids, completion_ids }) => ({
      input_ids: [...prompt_ids, ...completion_ids],
      labels: [...prompt_ids.map(() => -100), ...completion_ids],
    })),
    ...changes,
  }) as TrainOptions

async function run(changes: Partial<TrainOptions> = {}) {
  using own = await loadTiny('tiny-untied')
  const losses: number[] = []
  const run = train(own, course(changes))
  for await (const event of run) if (event.type === 'step') losses.push(event.loss)
  await run.finished
  const adapter = await Promise.all(own.trainableParameters().map(({ parameter }) => parameter.data()))
  return { losses, adapter: adapter.flatMap((values) => [...(values as Float32Array)]) }
}

test('a run is the same in micro-batches, padded, over two ranks and with a model in place of its path', async () => {
  const whole = await run()
  expect(whole.losses[3]).toBeLessThan(whole.losses[0]!)
  using loaded = await loadTeacher()
  const given = { objective: distill({ teacher: loaded, beta: 0.2 }), teacher: undefined, beta: undefined }
  expect(await run(given)).toEqual(whole)
  const two = await Promise.all(localRanks(2).map((ranks) => run({ ranks })))
  for (const other of [await run({ microBatchSize: 1 }), await run({ packing: false, microBatchSize: 2 }), ...two]) {
    expect(largestDifference(other.losses, whole.losses)).toBeLessThan(1e-5)
    expect(largestDifference(other.adapter, whole.adapter)).toBeLessThan(1e-5)
  }
})

test('a run records its teacher, and resumes with the same bits and no other teacher', async () => {
  const whole = await run()
  const output = join(folder(), 'half')
  await run({ output, maxSteps: 2 })
  expect(parse(readFileSync(join(output, 'run.yaml'), 'utf8')).options).toMatchObject({ objective: 'distill', teacher })
  const other = goldenPath('tiny-untied/model')
  await expect(run({ output, resume: true, teacher: other })).rejects.toThrow('had teacher with sha256')
  const moved = join(folder(), 'moved')
  cpSync(teacher, moved, { recursive: true })
  const rest = await run({ output, resume: true, teacher: moved })
  expect(rest.losses).toEqual(whole.losses.slice(2))
  expect(rest.adapter).toEqual(whole.adapter)
})

test.each([null, new Error('no more')])(
  'of an objective with two teachers, both are disposed of: %s',
  async (failure) => {
    const before = liveBytes(testDevice())
    const objective: Objective = {
      name: 'two teachers',
      loss: sft().loss,
      async prepare({ teacher: load }) {
        await load(teacher)
        await load(teacher)
        if (failure) throw failure
        return this
      },
    }
    const ended = run({ objective, teacher: undefined, beta: undefined, maxSteps: 1 })
    if (failure) await expect(ended).rejects.toBe(failure)
    else await ended
    expect(liveBytes(testDevice())).toBe(before)
  },
)

test('evaluation data have the divergence, too', async () => {
  const evalData = (course().data as object[]).slice(0, 3)
  const output = join(folder(), 'evaluated')
  await run({ output, evalData })
  const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n')
  expect(JSON.parse(lines.at(-1)!).evalLoss).toBeGreaterThan(0)
})

test('a teacher with another vocabulary is refused', async () => {
  await expect(run({ teacher: goldenPath('tiny-tied-llama3-rope/model') })).rejects.toThrow(
    /^The teacher has a vocabulary of \d+ tokens, but the model has one of \d+: distillation needs the same one\.$/,
  )
})

test('a teacher whose tokenizer has another token in a place is refused', async () => {
  const [ours, theirs] = ['ours', 'theirs'].map((name) => join(folder(), name)) as [string, string]
  for (const path of [ours, theirs]) cpSync(DEMO_MODEL, path, { recursive: true })
  const file = join(theirs, 'tokenizer.json')
  writeFileSync(file, readFileSync(file, 'utf8').replace('"z": ', '"z2": '))
  using model = await loadModel(ours, { device: testDevice().kind, dtype: 'float32' })
  const rows = [{ input_ids: [1, 2, 3] }]
  const run = train(model, { objective: 'distill', teacher: theirs, data: rows, maxSteps: 1 })
  await expect(run.finished).rejects.toThrow(/^Token \d+ is "z2" to the teacher, but "z" to the model: /)
})

test.each([
  [{ teacher: undefined }, 'give the option teacher'],
  [{ beta: 1.5 }, 'Expected a number of at least 0 up to 1 for beta but received 1.5'],
  [{ objective: 'sft', beta: undefined }, 'teacher does not go with objective sft'],
  [{ objective: 'dpo', teacher: undefined, beta: 0 }, 'Expected a number above 0 for beta but received 0'],
])('%j is refused', async (changes, message) => {
  await expect(run(changes as Partial<TrainOptions>)).rejects.toThrow(message)
})

describe('the likeliest tokens of the teacher', () => {
  test.each([0, 0.3, 1])('with all of them, β = %d, the loss is that of all logits', async (beta) => {
    using model = await loadStart()
    using teacher = await loadTeacher()
    const all = await evaluated(model, distill({ teacher, beta, temperature: 1.5 }), [packBatch(pieces)])
    const { vocabularySize } = teacher.config
    const top = distill({ teacher, beta, temperature: 1.5, teacherTopK: vocabularySize })
    const got = await evaluated(model, top, [packBatch(pieces)])
    expect(Math.abs(got.loss - all.loss)).toBeLessThan(1e-5)
    for (const [name, gradient] of all.gradients)
      expect(largestDifference(got.gradients.get(name)!, gradient), name).toBeLessThan(1e-5)
  })

  test.each([1, 5])('the gradient of %d is that of finite differences, and the loss a lower bound', async (k) => {
    using model = await loadStart()
    using teacher = await loadTeacher()
    const [all, top] = [distill({ teacher }), distill({ teacher, teacherTopK: k })]
    const [whole, part] = [
      await evaluated(model, all, [packBatch(pieces)]),
      await evaluated(model, top, [packBatch(pieces)]),
    ]
    expect(part.loss).toBeLessThan(whole.loss)
    expect(part.loss).toBeGreaterThan(0)
    await expectFiniteDifferences(model, top, packBatch(pieces))
  })

  test('are computed once, kept in the output folder, and read by a resumed run', async () => {
    const whole = await run({ teacherTopK: 20, evalData: (course().data as object[]).slice(0, 2) })
    const two = await Promise.all(localRanks(2).map((ranks) => run({ teacherTopK: 20, ranks })))
    for (const other of [
      await run({ teacherTopK: 20, microBatchSize: 1 }),
      await run({ teacherTopK: 20, packing: false }),
      ...two,
    ]) {
      expect(largestDifference(other.losses, whole.losses)).toBeLessThan(1e-5)
      expect(largestDifference(other.adapter, whole.adapter)).toBeLessThan(1e-5)
    }
    const output = join(folder(), 'kept')
    await run({ teacherTopK: 20, output, maxSteps: 2 })
    const file = join(output, 'kept.bin')
    const before = statSync(file)
    const rest = await run({ teacherTopK: 20, output, resume: true })
    expect(rest.losses).toEqual(whole.losses.slice(2))
    expect(statSync(file).ino).toBe(before.ino)
    // One that is cut off is written again.
    writeFileSync(file, readFileSync(file).subarray(0, 200))
    await run({ teacherTopK: 20, output, resume: true, maxSteps: 5, allowChanges: ['maxSteps'] })
    expect(statSync(file).size).toBe(before.size)
  })

  test('need rows that are read before the first step, and no more tokens than there are', async () => {
    await expect(run({ teacherTopK: 20, shuffleBuffer: 2 })).rejects.toThrow('give shuffleBuffer 0')
    await expect(run({ teacherTopK: 1e6 })).rejects.toThrow('for teacherTopK')
  })
})

describe('on answers of the student', () => {
  const prompts = [{ prompt: 'The capital of' }, { prompt: 'One and' }, { prompt: 'A river' }]

  test('prompts are answered, and a student that is the teacher has nothing to learn', async () => {
    using model = await loadModel(DEMO_MODEL, { device: 'cpu', dtype: 'float32', threads: 1 })
    using teacher = await loadModel(DEMO_MODEL, { device: 'cpu', dtype: 'float32', threads: 1 })
    const output = join(folder(), 'answers')
    const losses: number[] = []
    const run = train(model, {
      ...{ objective: distill({ teacher, onPolicy: true, maxNewTokens: 6 }), data: prompts, evalData: prompts },
      ...{ method: 'lora', rank: 2, batchSize: 3, maxSteps: 1, output },
    })
    for await (const event of run) {
      if (event.type === 'step') losses.push(event.loss)
      if (event.type === 'evaluation') losses.push(event.evalLoss)
    }
    await run.finished
    expect(losses).toHaveLength(2)
    for (const loss of losses) expect(Math.abs(loss)).toBeLessThan(1e-4)
    const lines = readFileSync(join(output, 'rollouts.jsonl'), 'utf8').trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line).prompt).sort()).toEqual(prompts.map(({ prompt }) => prompt).sort())
  })

  test('likeliest tokens cannot be kept', () => {
    expect(() => distill({ teacher, onPolicy: true, teacherTopK: 4 })).toThrow(/^teacherTopK does not go with onPolicy/)
  })
})
