/** The results of a batch do not depend on how its rows are laid out, cut up or recomputed. */
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import type { Batch } from '../../../lib/batches/batch.js'
import { randomStream } from '../../../lib/common/random.js'
import type { Model } from '../../../lib/models/model.js'
import { largestDifference, largestOf } from '../../golden/files.js'
import { batchOf, loadTiny, type Row } from '../../golden/tiny-models.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'
import { accumulated, type Sums } from './sums.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const random = randomStream(4, 'test')
/** Rows of different lengths; the first tokens are no targets, as of a prompt. */
const rows: Row[] = [9, 2, 31, 14, 5].map((length) => {
  const input_ids = Array.from({ length }, () => random.integer(300))
  return { input_ids, labels: input_ids.map((id, i) => (i < length / 3 ? -100 : id)) }
})

/** Tokens before each row, which key its dropout masks in any batch. */
const firstKeys = rows.map((_, i) => rows.slice(0, i).reduce((sum, row) => sum + row.input_ids.length, 0))
const single = (i: number): Batch => batchOf([rows[i]!], firstKeys[i]!)
const together = batchOf(rows)

async function adaptedModel(): Promise<Model> {
  const model = await loadTiny('tiny-untied')
  model.addAdapter('rotation', mora({ rank: 3, operator: 'rotation', dropout: 0.3 }))
  model.addAdapter('sharing', mora({ rank: 4, operator: 'sharing', dropout: 0.3 }))
  model.addAdapter('lora', lora({ rank: 2, dropout: 0.3 }))
  const noise = randomStream(5, 'test')
  for (const { parameter } of model.trainableParameters()) {
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.05 * noise.normal()))
  }
  return model
}

function expectEqualSums(got: Sums, wanted: Sums): void {
  expect(Math.abs(got.loss / wanted.loss - 1), 'relative difference of the losses').toBeLessThan(2e-6)
  const largest = Math.max(...[...wanted.gradients.values()].map(largestOf))
  for (const [name, values] of wanted.gradients) {
    expect(largestDifference(got.gradients.get(name)!, values) / largest, name).toBeLessThan(1e-5)
  }
}

describe.each([
  { how: 'without dropout', dropout: null },
  { how: 'with dropout', dropout: { seed: 7, step: 3 } },
])('$how', ({ dropout }) => {
  test('one packed batch equals its rows one by one (T1, T14)', async () => {
    using model = await adaptedModel()
    model.setDropout(dropout)
    expectEqualSums(
      await accumulated(
        model,
        rows.map((_, i) => single(i)),
      ),
      await accumulated(model, [together]),
    )
  })

  test('the order of documents in a batch does not matter', async () => {
    using model = await adaptedModel()
    model.setDropout(dropout)
    const order = [3, 0, 4, 2, 1]
    const shuffled = batchOf(order.map((i) => rows[i]!))
    const keys = order.flatMap((i) => [...single(i).rowKeys])
    expectEqualSums(
      await accumulated(model, [{ ...shuffled, rowKeys: BigInt64Array.from(keys) }]),
      await accumulated(model, [together]),
    )
  })

  test('recomputed activations give the same bits', async () => {
    using model = await adaptedModel()
    model.setDropout(dropout)
    const kept = await accumulated(model, [together])
    model.gradientCheckpointing = true
    expect(await accumulated(model, [together])).toEqual(kept)
  })

  test('the same batch gives the same bits again', async () => {
    using model = await adaptedModel()
    model.setDropout(dropout)
    expect(await accumulated(model, [together])).toEqual(await accumulated(model, [together]))
  })
})

test('dropout changes the loss, its step changes the mask, and evaluation has none', async () => {
  using model = await adaptedModel()
  const plain = (await accumulated(model, [together])).loss
  model.setDropout({ seed: 7, step: 1 })
  const first = (await accumulated(model, [together])).loss
  model.setDropout({ seed: 7, step: 2 })
  const second = (await accumulated(model, [together])).loss
  expect(new Set([plain, first, second]).size).toBe(3)
  model.setDropout(null)
  expect((await accumulated(model, [together])).loss).toBe(plain)
})

const long = batchOf([{ input_ids: Array.from({ length: 240 }, (_, i) => i) }])

/** The peak bytes of `work`. */
async function peakOf({ device }: Model, work: () => Promise<unknown>): Promise<number> {
  await device.synchronize()
  device.resetPeak()
  const start = device.memory().inUse
  await work()
  return device.memory().peak - start
}

test('recomputing needs less memory than keeping', async () => {
  using model = await loadTiny('tiny-untied')
  model.addAdapter('a', mora({ rank: 2 }))
  const peak = (checkpointing: boolean): Promise<number> => {
    model.gradientCheckpointing = checkpointing
    return peakOf(model, () => accumulated(model, [long]))
  }
  await peak(false)
  expect(await peak(true)).toBeLessThan(0.7 * (await peak(false)))
})

test('without gradients, all blocks take as much memory as one', async () => {
  using model = await loadTiny('tiny-untied')
  const peak = (passes: Pick<Model, 'lossAsync'>) =>
    peakOf(model, async () => {
      using loss = (await passes.lossAsync(long, { gradients: false })).loss
      await loss.item()
    })
  await peak(model)
  const states = 240 * model.config.hiddenSize * 4
  expect(model.config.layers).toBeGreaterThan(1)
  expect((await peak(model)) - (await peak(model.trial()))).toBeLessThan(states / 2)
})
