/** On a device, several ranks take the same fifty steps as one, up to the rounding of sums. */
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Model } from '../../../lib/models/model.js'
import { ADAPTER_METHODS } from '../../../lib/options/index.js'
import { type TrainOptions, train } from '../../../lib/train/index.js'
import { drawn } from '../../drawn.js'
import { familyFolder, loadFamily } from '../../golden/families.js'
import { largestDifference } from '../../golden/files.js'
import { loadTiny } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'
import { localRanks } from '../local-ranks.js'
import { rows, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

type Changes = Partial<TrainOptions>

/** Fifty steps over ragged rows, four a step; the last step has three. */
async function trained(changes: Changes, load: () => Promise<Model>) {
  const data = writeRows(folder(), 'train.jsonl', rows(199))
  using model = await load()
  const losses: number[] = []
  const evaluations: number[] = []
  const valuesOf = async () => {
    const all = model.trainableParameters().map(({ parameter }) => parameter.data() as Promise<Float32Array>)
    return (await Promise.all(all)).flatMap((values) => [...values])
  }
  let early: number[] = []
  for await (const event of train(model, { data, batchSize: 4, learningRate: 2e-4, seed: 3, ...changes })) {
    if (event.type === 'step') losses.push(event.loss)
    if (losses.length === 1) early = await valuesOf()
    if (event.type === 'evaluation') evaluations.push(event.evalLoss)
  }
  return { losses, evaluations, early, values: await valuesOf() }
}

const loadUntied = () => loadTiny('tiny-untied')

const trainedOn = (size: number, changes: Changes, load = loadUntied) =>
  Promise.all(localRanks(size).map((ranks) => trained({ ...changes, ranks }, load)))

/** The largest relative difference. */
function apart(actual: readonly number[], expected: readonly number[]): number {
  expect(actual.length).toBe(expected.length)
  return Math.max(0, ...actual.map((value, i) => Math.abs(value / expected[i]! - 1)))
}

async function expectAsOne(size: number, changes: Changes, load = loadUntied): Promise<void> {
  const alone = await trained(changes, load)
  const all = await trainedOn(size, changes, load)
  expect(alone.losses).toHaveLength(50)
  expect(largestDifference(alone.values, alone.early)).toBeGreaterThan(2e-5)
  const [first] = all as [(typeof all)[0]]
  for (const other of all) expect(other).toEqual(first)
  expect(apart(first.losses, alone.losses)).toBeLessThan(1e-6)
  expect(apart(first.evaluations, alone.evaluations)).toBeLessThan(1e-6)
  expect(largestDifference(first.values, alone.values)).toBeLessThan(1e-6)
}

/**
 * With DeLoRA's default bound, the first step uses up all of it, and such a run doubles rounding differences with each step;
 * with a small bound it is like the others.
 */
const calm: Partial<Record<string, Changes>> = { delora: { deloraLambda: 0.1 } }

describe('as one rank does', () => {
  it.each(drawn('methods on ranks', ADAPTER_METHODS, 1))(
    'three train %s, with dropout and a row in each pass',
    async (method) => {
      await expectAsOne(3, { method, rank: 2, dropout: 0.1, microBatchSize: 1, ...calm[method] })
    },
  )

  const others: [string, number, Changes][] = [
    ['two train every weight', 2, { method: 'full', rank: undefined, learningRate: undefined }],
    ['four evaluate', 4, { evalEvery: 20, microBatchSize: 2 }],
    ['two take padded rows', 2, { packing: false, microBatchSize: 2 }],
    ['four take three rows a step, so that one of them has none', 4, { batchSize: 3, maxSteps: 50, dropout: 0.1 }],
    ['two recompute activations', 2, { gradientCheckpointing: true, dropout: 0.1 }],
    ['two train embeddings and head beside an adapter', 2, { modulesToSave: ['embeddings', 'head'] }],
    ['two merge', 2, { mergeEvery: 12, dropout: 0.1 }],
    ['two clip gradients', 2, { maxGradNorm: 1e-3 }],
  ]
  it.each(drawn('what ranks train', others, 1))('%s', async (_, size, changes) => {
    const evalData = writeRows(folder(), 'valid.jsonl', rows(10, { first: 300 }))
    await expectAsOne(size, { rank: 2, ...(changes.evalEvery && { evalData }), ...changes })
  })

  for (const family of drawn('families on ranks', ['lfm2', 'qwen3_5-text'], 1))
    it(`two train ${family}`, async () => {
      const changes = { rank: 2, dropout: 0.1, targetModules: 'all-linear' } as const
      await expectAsOne(2, changes, () => loadFamily(familyFolder(family)))
    })
})

it('as many ranks get the same bits again', async () => {
  const changes = { rank: 2, dropout: 0.1, maxSteps: 20, output: join(folder(), 'out'), overwrite: true }
  expect(await trainedOn(3, changes)).toEqual(await trainedOn(3, changes))
})
