/** The extras of objectives of examples: weights of rows, and the z-loss. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { loadDataset } from '../../lib/batches/dataset.js'
import { packBatch } from '../../lib/batches/packing.js'
import { sft } from '../../lib/objectives/cross-entropy.js'
import { dft } from '../../lib/objectives/dft.js'
import { distill } from '../../lib/objectives/distill.js'
import type { Objective } from '../../lib/objectives/objective.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { largestDifference } from '../golden/files.js'
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
import { expectFiniteDifferences, expectSameInPasses, expectWeightsLikeCopies } from './gradients.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const { rows } = objectiveOf<GoldenCompletion>('distillation')
const pieces = rows.map(({ prompt, completion }, row) => ({ ...answerOf(prompt, completion), row }))

describe('the z-loss', () => {
  test('adds C ln² of the sum of exponentials at each target', async () => {
    using model = await loadStart()
    const batch = packBatch(pieces)
    using states = await model.forwardAsync(batch, { rows: 'targets', gradients: false })
    using logits = states.logits()
    const [values, width] = [(await logits.data()) as Float32Array, logits.shape[1]!]
    let wanted = 0
    for (let at = 0; at < values.length; at += width) {
      const total = values.subarray(at, at + width).reduce((sum, value) => sum + Math.exp(value), 0)
      wanted += (0.3 * Math.log(total) ** 2) / (values.length / width)
    }
    const [plain, more] = [
      await evaluated(model, sft({}), [batch]),
      await evaluated(model, sft({ zLoss: 0.3 }), [batch]),
    ]
    expect(Math.abs(more.loss - plain.loss - wanted)).toBeLessThan(1e-4)
  })

  test('has the gradient of finite differences, and is the same in passes', async () => {
    using model = await loadStart()
    await expectFiniteDifferences(model, sft({ zLoss: 0.1, labelSmoothing: 0.1 }), packBatch(pieces))
    await expectSameInPasses(model, sft({ zLoss: 0.1 }), packBatch(pieces), [pieces.map((piece) => packBatch([piece]))])
  })
})

test('the accuracy of tokens is the share of targets with the largest logit, and changes no loss', async () => {
  using model = await loadStart()
  const batch = packBatch(pieces)
  using states = await model.forwardAsync(batch, { rows: 'targets', gradients: false })
  using logits = states.logits()
  const [values, width] = [(await logits.data()) as Float32Array, logits.shape[1]!]
  // The target of half of the places is the likeliest token there.
  const places = [...batch.targets.keys()].filter((at) => batch.targets[at]! >= 0)
  const likeliest = (row: number) => {
    const own = values.subarray(row * width, (row + 1) * width)
    return own.indexOf(Math.max(...own))
  }
  for (const [row, at] of places.entries()) if (row % 2 === 0) batch.targets[at] = likeliest(row)
  const right = places.filter((at, row) => batch.targets[at] === likeliest(row)).length
  const [plain, more] = [
    await evaluated(model, sft(), [batch]),
    await evaluated(model, sft({ tokenAccuracy: true }), [batch]),
  ]
  expect(more.metrics).toEqual({ tokenAccuracy: right / places.length })
  expect(Math.abs(more.loss - plain.loss)).toBeLessThan(1e-5)
})

describe('weights of rows', () => {
  test.each(['sft', 'sft with z-loss', 'dft', 'distill'])('a row of %s that counts twice is two rows', async (name) => {
    using model = await loadStart()
    using teacher = await loadTeacher()
    const objective = { sft: sft({}), 'sft with z-loss': sft({ zLoss: 0.1 }), dft, distill: distill({ teacher }) }[
      name
    ]!
    await expectWeightsLikeCopies(model, objective, pieces)
  })

  test.each([
    [1, 1],
    [1, 10],
    [10, 1],
  ])(
    "the mean loss with weights %i and %i is that of model.loss, of an objective of one's own and of sft",
    async (...weights) => {
      using model = await loadStart()
      const rows = pieces.slice(0, 2).map((piece, i) => ({ ...piece, weight: weights[i]! }))
      let [sum, divisor] = [0, 0]
      for (const row of rows) {
        const logProbs = await model.tokenLogProbs(packBatch([row]))
        sum -= row.weight * logProbs.reduce((total, value) => total + value, 0)
        divisor += row.weight * logProbs.length
      }
      const batch = packBatch(rows)
      const { loss, targetTokens } = model.loss(batch)
      expect(targetTokens).toBe(divisor)
      expect((await loss.item()) / targetTokens).toBeCloseTo(sum / divisor, 5)
      loss.dispose()
      const own: Objective = {
        name: 'own',
        async loss(model, batch, options) {
          const { loss, targetTokens } = await model.lossAsync(batch, options)
          return { loss, weight: targetTokens }
        },
      }
      for (const objective of [own, sft({}), sft({ zLoss: 1e-12 })])
        expect((await evaluated(model, objective, [batch])).loss).toBeCloseTo(sum / divisor, 5)
      await expectFiniteDifferences(model, own, batch)
    },
  )

  test('the gradient is that of finite differences', async () => {
    using model = await loadStart()
    const weighted = pieces.map((piece, i) => ({ ...piece, weight: 0.5 + i }))
    await expectFiniteDifferences(model, sft({}), packBatch(weighted))
  })

  test('come from the column weight, or one that is named', async () => {
    const read = async (
      lines: string,
      name: string,
      columns?: Record<string, string>,
      cacheDir: string | null = null,
    ) => {
      const path = join(folder(), name)
      writeFileSync(path, lines)
      const data = await loadDataset(path, { tokenizer: null, columns, cacheDir })
      return Array.from({ length: data.length }, (_, i) => data.row(i).weight)
    }
    const tokens = '"input_ids": [1, 2, 3]'
    expect(await read(`{${tokens}}\n{${tokens}}`, 'none.jsonl')).toEqual([undefined, undefined])
    // Nothing of a row with weight 0 is trained.
    const some = `{${tokens}, "weight": 2.5}\n{${tokens}, "weight": 0}\n{${tokens}, "weight": null}`
    for (let time = 0; time < 2; time++) expect(await read(some, 'some.jsonl', undefined, folder())).toEqual([2.5, 1])
    const other = `{${tokens}, "score": "0.5"}`
    expect(await read(other, 'other.jsonl', { input_ids: 'input_ids', weight: 'score' })).toEqual([0.5])
    for (const wrong of ['-1', '"much"', 'true', '1e400'])
      await expect(read(`{${tokens}, "weight": ${wrong}}`, 'wrong.jsonl')).rejects.toThrow(
        'weight: expected a number of at least 0',
      )
  })

  test('data have another hash with weights', async () => {
    const hash = async (weight?: number) =>
      (await loadDataset([{ input_ids: [1, 2], ...(weight && { weight }) }], { tokenizer: null })).hash
    expect(await hash(1)).toBe(await hash())
    expect(await hash(2)).not.toBe(await hash())
  })
})

const data = rows.map(({ prompt, completion }, i) => ({
  input_ids: [...prompt, ...completion],
  labels: [...prompt.map(() => -100), ...completion],
  weight: 0.5 + (i % 3),
}))

async function run(changes: Partial<TrainOptions> = {}) {
  using own = await loadTiny('tiny-untied')
  const losses: number[] = []
  const course = { method: 'lora', rank: 2, learningRate: 1e-3, scheduler: 'constant', batchSize: 4, maxSteps: 4, data }
  const run = train(own, { ...course, ...changes } as TrainOptions)
  for await (const event of run) if (event.type === 'step') losses.push(event.loss)
  await run.finished
  const adapter = await Promise.all(own.trainableParameters().map(({ parameter }) => parameter.data()))
  return { losses, adapter: adapter.flatMap((values) => [...(values as Float32Array)]) }
}

test('a run with weights is the same in micro-batches, padded, streamed and over two ranks', async () => {
  const unweighted = await run({ data: data.map(({ weight: _, ...row }) => row) })
  const whole = await run({ zLoss: 1e-3 })
  expect(whole.losses[0]).not.toBeCloseTo(unweighted.losses[0]!, 3)
  const two = await Promise.all(localRanks(2).map((ranks) => run({ ranks, zLoss: 1e-3 })))
  const others = [
    await run({ microBatchSize: 1, zLoss: 1e-3 }),
    await run({ packing: false, microBatchSize: 2, zLoss: 1e-3 }),
    ...two,
  ]
  for (const other of others) {
    expect(largestDifference(other.losses, whole.losses)).toBeLessThan(1e-5)
    expect(largestDifference(other.adapter, whole.adapter)).toBeLessThan(1e-5)
  }
  const inOrder = await run({ shuffle: false })
  const streamed = await run({ shuffle: false, shuffleBuffer: 3 })
  expect(streamed.losses).toEqual(inOrder.losses)
})

test('options of other objectives are refused', async () => {
  await expect(run({ objective: 'dft', zLoss: 0.1 })).rejects.toThrow('zLoss does not go with objective dft')
})
