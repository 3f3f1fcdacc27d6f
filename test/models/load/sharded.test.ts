/** A model whose matrices are sharded over ranks: its memory, its reads, its refusals. */
import { afterAll, describe, expect, it, vi } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { loadModel } from '../../../lib/models/index.js'
import type { LoadOptions } from '../../../lib/models/load-model.js'
import { networkUnits } from '../../../lib/models/network/units.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import { goldenPath } from '../../golden/files.js'
import { batchOf } from '../../golden/tiny-models.js'
import { expectRejection, useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'
import { deepModel } from '../../ranks/deep-model.js'
import { localRanks } from '../../train/local-ranks.js'

const folder = useTemporaryFolder()
const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const tiny = goldenPath('tiny-untied/model')
const common = { device: device.kind, threads: 2, dtype: 'float32' } as const
const loadOn = (size: number, path: string, options: LoadOptions = {}) =>
  Promise.all(localRanks(size).map((shard) => loadModel(path, { ...common, ...options, shard })))

describe('a model that is sharded over three ranks', () => {
  it('takes a third of its matrices and two blocks on each, also while it is read', async () => {
    const { path, bytesOfBase, bytesOfBlock, most } = await deepModel(folder(), 3)
    const start = liveBytes(device)
    device.resetPeak()
    const models = await loadOn(3, path)
    const { inUse, peak } = device.memory()
    expect(most).toBeLessThan(1.01 * (bytesOfBase / 3 + 2 * bytesOfBlock))
    expect(most).toBeLessThan(0.7 * bytesOfBase)
    // The ranks of this process have one device.
    expect(inUse - start).toBeLessThanOrEqual(3 * most)
    // And a norm of 64 values as its file has it.
    expect(peak - start).toBeLessThanOrEqual(3 * (most + 4 * 64))
    for (const model of models) model.dispose()
  })

  it('has each matrix read by one of them', async () => {
    const read = vi.spyOn(ModelSource.prototype, 'loadInto')
    const models = await loadOn(3, tiny)
    const names = read.mock.calls.map(([name]) => name)
    read.mockRestore()
    const matrices = networkUnits(models[0]!.config).flatMap(({ groups }) => groups.flat())
    for (const name of matrices)
      expect(
        names.filter((one) => one === name),
        name,
      ).toHaveLength(1)
    for (const model of models) model.dispose()
  })

  it('loads on none of them if one cannot read its part', async () => {
    const read = vi.spyOn(ModelSource.prototype, 'loadInto').mockImplementation((name) => {
      if (name.includes('layers.1.')) throw new Error('The disk is gone.')
    })
    const ends = await Promise.allSettled(localRanks(3).map((shard) => loadModel(tiny, { ...common, shard })))
    read.mockRestore()
    // Blocks are dealt out in turns, after the embeddings.
    const other = { code: 'rank-failed', message: 'Rank 2 failed: The disk is gone.' }
    expect(ends.map((end) => (end as PromiseRejectedResult).reason)).toMatchObject([
      other,
      other,
      { message: 'The disk is gone.' },
    ])
  })

  it('computes the same as a whole one', async () => {
    const models = await loadOn(3, tiny)
    using whole = await loadModel(tiny, common)
    const batch = batchOf([{ input_ids: [1, 2, 3, 4, 5] }])
    const expected = await whole.tokenLogProbs(batch)
    for (const model of models) expect(await model.tokenLogProbs(batch)).toEqual(expected)
    for (const model of models) model.dispose()
  })

  it('refuses to be changed, and to write', async () => {
    const models = await loadOn(2, tiny)
    const [model] = models as [(typeof models)[0]]
    model.addAdapter('a', lora({ rank: 2 }))
    await expectRejection(
      model.mergeAdapter('a'),
      'sharded-weights',
      /^Merging would change .*load the model without shard\.$/,
    )
    await expectRejection(model.restartAdapter('a'), 'sharded-weights', /^Merging would change/)
    expect(() => model.trainAll()).toThrow(
      /^Full training changes the weights, but the ranks share the weights of the model: load it without shard\.$/,
    )
    const cache = model.createCache(4)
    await expectRejection(
      model.nextLogits([1], cache),
      'sharded-weights',
      /^Writing texts takes all weights for every token, but/,
    )
    cache.dispose()
    for (const one of models) one.dispose()
  })
})

it('one rank has a model whole', async () => {
  using model = await loadModel(tiny, { ...common, shard: localRanks(1)[0] })
  expect(model.shards).toBe(null)
})
