/** A model that ranks of one machine share in memory: what is read, what is shared, and what each rank has for itself. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, it, onTestFinished, vi } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { loadModel } from '../../../lib/models/index.js'
import type { LoadOptions } from '../../../lib/models/load-model.js'
import type { Model } from '../../../lib/models/model.js'
import { networkUnits } from '../../../lib/models/network/units.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import { goldenPath, lacksGolden } from '../../golden/files.js'
import { batchOf } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { lacksCpu, needing } from '../../needs.js'
import { testDevice } from '../../operations/harness.js'
import { deepModel } from '../../ranks/deep-model.js'
import { type LocalRanks, localRanks } from '../../train/local-ranks.js'

const folder = useTemporaryFolder()
const device = testDevice()
const tiny = goldenPath('tiny-untied/model')
const common = { device: device.kind, threads: 2, dtype: 'float32' } as const
const batch = batchOf([{ input_ids: [1, 2, 3, 4, 5] }])

/** Two ranks of one machine, and one of another between them. */
const hosts = ['a', 'b', 'a']

afterAll(async () => {
  // Memory is freed in stream order.
  await device.synchronize()
  expect(liveBytes(device), 'bytes in use at the end').toBe(0)
  expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain('memfd:mora')
  const descriptors = readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`)
    } catch {
      return [] // that of the folder itself
    }
  })
  expect(descriptors.filter((target) => target.includes('memfd:mora'))).toEqual([])
})

const load = (all: readonly LocalRanks[], path: string, options: LoadOptions = {}): Promise<Model[]> =>
  Promise.all(all.map((ranks) => loadModel(path, { ...common, ranks, ...options })))

function disposing(models: readonly Model[]): void {
  onTestFinished(() => {
    for (const model of models) model.dispose()
  })
}

/** Collects warnings from here on. */
function warnings(): string[] {
  const heard: string[] = []
  const spy = vi.spyOn(process, 'emitWarning').mockImplementation((text) => void heard.push(String(text)))
  onTestFinished(() => spy.mockRestore())
  return heard
}

needing(lacksCpu).describe('a model that ranks of one machine share', () => {
  for (const [what, model, options] of [
    ['in float32', 'tiny-untied/model', {}],
    ['in bfloat16', 'tiny-untied/model', { dtype: 'bfloat16' }],
    ['quantised while it is read', 'tiny-untied/model', { quantise: 'q8_0' }],
    ['in codes', 'quantised/gptq-4-g32-asym-zero', { quantised: true }],
    ['of codes with double scales', 'quantised/bnb-nf4-double', { quantised: true }],
    ['of codes turned into floats', 'quantised/bnb-fp4', { quantised: false }],
  ] as const)
    needing(lacksGolden(model)).it(`computes what one does that is whole, ${what}`, async () => {
      const path = goldenPath(model)
      using whole = await loadModel(path, { ...common, ...options })
      const expected = await whole.tokenLogProbs(batch)
      const models = await load(localRanks(3, hosts), path, options)
      disposing(models)
      for (const one of models) {
        expect([one.isShared, one.shards]).toEqual([true, null])
        expect(await one.tokenLogProbs(batch)).toEqual(expected)
      }
    })

  it('computes the same as a whole one, in blocks of GGUF with the rows of heads in another order', async () => {
    using model = await loadModel(tiny, common)
    const path = join(folder(), 'model.gguf')
    await model.save(path, { dtype: 'q8_0' })
    using whole = await loadModel(path, { ...common, quantised: true })
    const models = await load(localRanks(2, ['a', 'a']), path, { quantised: true })
    disposing(models)
    expect(models[0]!.quantised?.kept).toBe(true)
    for (const one of models) expect(await one.tokenLogProbs(batch)).toEqual(await whole.tokenLogProbs(batch))
  })

  it('is read once on a machine, by its ranks in turns', async () => {
    const read = vi.spyOn(ModelSource.prototype, 'loadInto')
    const models = await load(localRanks(3, hosts), tiny)
    disposing(models)
    const names = read.mock.calls.map(([name]) => name)
    read.mockRestore()
    // Once on each of two machines; norms are read by every rank.
    for (const name of networkUnits(models[0]!.config).flatMap(({ groups }) => groups.flat()))
      expect(names.filter((one) => one === name)).toHaveLength(2)
  })

  it('counts as its part of each rank that shares it', async () => {
    const { path, bytesOfBase, bytesOfBlock } = await deepModel(folder(), 1)
    const start = liveBytes(device)
    const models = await load(localRanks(3, ['a', 'a', 'a']), path)
    disposing(models)
    const taken = liveBytes(device) - start
    expect(taken).toBeGreaterThan(0.99 * bytesOfBase)
    // Norms, which each has, and where parts begin.
    expect(taken).toBeLessThan(bytesOfBase + bytesOfBlock / 4 + 9 * 4 * 2 ** 16)
  })

  it('stays unchanged for the others if one merges into it', async () => {
    using whole = await loadModel(tiny, common)
    const expected = await whole.tokenLogProbs(batch)
    const models = await load(localRanks(2, ['a', 'a']), tiny)
    disposing(models)
    const [first, second] = models as [Model, Model]
    for (const one of [whole, first]) {
      await one.addAdapter('a', lora({ rank: 2 }), { seed: 1 })
      for (const { parameter } of one.trainableParameters()) {
        const { length } = await parameter.data()
        parameter.assign(Float32Array.from({ length }, (_, i) => Math.sin(i)))
      }
      await one.mergeAdapter('a')
    }
    const merged = await whole.tokenLogProbs(batch)
    expect(merged).not.toEqual(expected)
    expect(await first.tokenLogProbs(batch)).toEqual(merged)
    expect(await second.tokenLogProbs(batch)).toEqual(expected)
  })

  it('may be trained whole by one', async () => {
    const models = await load(localRanks(2, ['a', 'a']), tiny)
    disposing(models)
    const [first, second] = models as [Model, Model]
    const before = await second.tokenLogProbs(batch)
    first.trainAll()
    for (const { parameter } of first.trainableParameters())
      parameter.assign(new Float32Array((await parameter.data()).length))
    expect(await second.tokenLogProbs(batch)).toEqual(before)
  })

  it('replaces sharding if all ranks are on one machine', async () => {
    const [one, several] = await Promise.all(
      [
        ['a', 'a'],
        ['a', 'b', 'a'],
      ].map((names) =>
        Promise.all(localRanks(names.length, names).map((shard) => loadModel(tiny, { ...common, shard }))),
      ),
    )
    disposing([...one!, ...several!])
    for (const model of one!) expect([model.isShared, model.shards]).toEqual([true, null])
    for (const model of several!) expect([model.isShared, model.shards === null]).toEqual([false, false])
  })

  it('loads on none of them if one cannot read its part', async () => {
    const read = vi.spyOn(ModelSource.prototype, 'loadInto').mockImplementation((name) => {
      if (name.includes('layers.0.')) throw new Error('The disk is gone.')
    })
    const all = localRanks(2, ['a', 'a'])
    const ends = await Promise.allSettled(
      all.map((ranks) =>
        loadModel(tiny, { ...common, ranks }).catch((error) => {
          ranks.abort(error.message)
          throw error
        }),
      ),
    )
    read.mockRestore()
    // Blocks are dealt out in turns, after the embeddings.
    expect(ends.map((end) => (end as PromiseRejectedResult).reason)).toMatchObject([
      { code: 'rank-failed', message: 'Rank 1 failed: The disk is gone.' },
      { message: 'The disk is gone.' },
    ])
  })
})

needing(lacksCpu).describe('ranks have a copy each', () => {
  const privately = async (all: readonly LocalRanks[], options: LoadOptions[] = []) => {
    const heard = warnings()
    const models = await Promise.all(all.map((ranks, i) => loadModel(tiny, { ...common, ranks, ...options[i] })))
    disposing(models)
    expect(models.map(({ isShared }) => isShared)).toEqual(all.map(() => false))
    return heard
  }

  it('where no two are of one machine', async () => {
    expect(await privately(localRanks(2))).toEqual([])
  })

  it('where they do not load the same', async () => {
    expect(await privately(localRanks(2, ['a', 'a']), [{}, { dtype: 'bfloat16' }])).toEqual([])
  })

  /** Ranks of one machine, of which the last reports false facts of its memory. */
  const lying = (changes: (place: { descriptor: number }) => object) => {
    const all = localRanks(2, ['a', 'a'])
    const gather = all[1]!.gather.bind(all[1])
    all[1]!.gather = (bytes) => {
      const said = JSON.parse(Buffer.from(bytes).toString())
      return gather(said?.proof === undefined ? bytes : Buffer.from(JSON.stringify({ ...said, ...changes(said) })))
    }
    return all
  }

  it('where one cannot open the memory of another, and rank 0 warns why', async () => {
    const heard = await privately(lying(() => ({ descriptor: 999_999 })))
    expect(heard).toEqual([
      expect.stringMatching(
        /^Ranks of a machine do not share the memory of the base, since rank 0 cannot share memory with the others on its machine \(the memory of rank 1 cannot be opened: ENOENT: .*\)\.$/,
      ),
    ])
  })

  it('where a process of another container has the same number', async () => {
    const heard = await privately(lying(() => ({ proof: '00'.repeat(16) })))
    expect(heard).toEqual([
      expect.stringMatching(/ is not the memory of rank 1, which is in another PID namespace\)\.$/),
    ])
  })
})
