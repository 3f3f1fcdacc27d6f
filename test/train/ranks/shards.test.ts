/** Ranks that shard a model, or share its memory, train as ranks that each have it whole, bit for bit. */
import { join } from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { QUANTISE_FORMATS } from '../../../lib/models/formats.js'
import { loadModel } from '../../../lib/models/index.js'
import type { LoadOptions } from '../../../lib/models/load-model.js'
import type { Model } from '../../../lib/models/model.js'
import type { Ranks } from '../../../lib/tensor/ranks.js'
import type { ShardRanks } from '../../../lib/tensor/shards.js'
import { type TrainOptions, train } from '../../../lib/train/index.js'
import { drawn } from '../../drawn.js'
import { familyFolder, familyPath } from '../../golden/families.js'
import { goldenPath, lacksGolden } from '../../golden/files.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { lacksCpu, needing } from '../../needs.js'
import { testDevice } from '../../operations/harness.js'
import { deepModel } from '../../ranks/deep-model.js'
import { type LocalRanks, localRanks } from '../local-ranks.js'
import { rows, writeRows } from '../tiny-run.js'

// Gradients of small models fit in one message; here each block has its own.
vi.mock(import('../../../lib/train/gradient-sum.js'), async (original) => {
  const { GradientSum } = await original()
  return {
    GradientSum: class extends GradientSum {
      constructor(...[sync, parameters, shards]: ConstructorParameters<typeof GradientSum>) {
        super(sync, parameters, shards, 1)
      }
    },
  }
})

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const device = testDevice()
const load = (path: string, options: LoadOptions) =>
  loadModel(path, { device: device.kind, threads: 2, dtype: 'float32', ...options })
const tiny = goldenPath('tiny-untied/model')

/** Methods that read weights beside multiplying with them, and one that does not. */
const readWeights = ['lora', 'dora', 'pissa', 'hira', 'oft', 'delora'] as const

/** Six steps over 17 ragged rows, a row in each pass: three in a step, and in the last one two. */
function optionsOf(changes: Partial<TrainOptions>): TrainOptions {
  const data = writeRows(folder(), 'train.jsonl', rows(17))
  const evalData = writeRows(folder(), 'valid.jsonl', rows(4, { first: 20 }))
  const shared = { data, evalData, evalEvery: 2, batchSize: 3, microBatchSize: 1, seed: 3 }
  return { ...shared, learningRate: 1e-2, dropout: 0.1, rank: 2, ...changes }
}

async function trained(model: Model, changes: Partial<TrainOptions>) {
  const losses: number[] = []
  for await (const event of train(model, optionsOf(changes))) {
    if (event.type === 'step') losses.push(event.loss)
    if (event.type === 'evaluation') losses.push(event.evalLoss)
  }
  const values = model.trainableParameters().map(({ parameter }) => parameter.data() as Promise<Float32Array>)
  const all = (await Promise.all(values)).flatMap((list) => [...list])
  return {
    losses,
    largest: Math.max(...all.map(Math.abs)),
    bits: Buffer.from(Float32Array.from(all).buffer).toString('hex'),
  }
}

/** The result of each of a number of ranks; the models are freed once all have it. */
async function trainedOn(
  size: number,
  path: string,
  how: 'whole' | 'parts' | 'shared',
  options: LoadOptions,
  changes: Partial<TrainOptions>,
) {
  const all = localRanks(size, how === 'shared' ? Array(size).fill('a') : [])
  const models = await Promise.all(
    all.map((ranks) =>
      load(path, { ...options, ...(how === 'parts' ? { shard: ranks } : how === 'shared' ? { ranks } : {}) }),
    ),
  )
  expect(models.map(({ isShared, shards }) => [isShared, shards !== null])).toEqual(
    all.map(() => [how === 'shared', how === 'parts']),
  )
  try {
    return { all, outcomes: await Promise.all(all.map((ranks, i) => trained(models[i]!, { ...changes, ranks }))) }
  } finally {
    for (const model of models) model.dispose()
  }
}

async function expectSame(
  size: number,
  path: string,
  options: LoadOptions,
  changes: Partial<TrainOptions>,
): Promise<LocalRanks[]> {
  const whole = await trainedOn(size, path, 'whole', options, changes)
  const { all, outcomes } = await trainedOn(size, path, 'parts', options, changes)
  expect(whole.outcomes[0]!.losses).toHaveLength(9)
  expect(whole.outcomes[0]!.largest).toBeGreaterThan(1e-3)
  expect(outcomes.map(({ losses }) => losses)).toEqual(whole.outcomes.map(({ losses }) => losses))
  for (const [i, { bits }] of outcomes.entries())
    expect(bits === whole.outcomes[i]!.bits, `bits of rank ${i}`).toBe(true)
  expect(all[0]!.gathered.length).toBeGreaterThan(100)
  for (const { gathered, sums } of all) expect([gathered, sums]).toEqual([all[0]!.gathered, all[0]!.sums])
  return all
}

describe('ranks that shard a model', () => {
  it.each([2, 3])('%i train as with a whole model each', async (size) => {
    const [{ gathered, sums }] = (await expectSame(size, tiny, {}, { method: 'mora' })) as [LocalRanks]
    // Six steps, with gradients of three blocks each. Those of the last one are on their way before all weights are.
    expect(sums).toHaveLength(6 * 3)
    const parts = 4
    for (let step = 0; step < 6; step++) {
      const [last, ...others] = sums.slice(3 * step, 3 * step + 3) as [number, number, number]
      expect(others).toEqual([last + parts, last + parts])
    }
    expect(gathered.length).toBeGreaterThan(sums.at(-1)!)
  })

  it.each(drawn('methods of sharded models', readWeights, 1))('train %s', async (method) => {
    await expectSame(2, tiny, {}, { method })
  })

  const fromLogits = [{ objective: 'dft' }, { labelSmoothing: 0.1 }] as const
  it.each(drawn('losses from logits', fromLogits, 1))('train with %j, from logits', async (changes) => {
    await expectSame(2, tiny, {}, { method: 'lora', ...changes })
    await expectSame(2, tiny, {}, { method: 'lora', modulesToSave: ['lm_head'], ...changes })
  })

  it('recompute blocks', async () => {
    await expectSame(2, tiny, {}, { method: 'lora', gradientCheckpointing: true })
  })

  it('train in bfloat16, from the second block on', async () => {
    const changes = { method: 'lora' as const, targetModules: ['layers.1.mlp.down_proj', 'layers.2.self_attn.q_proj'] }
    await expectSame(3, tiny, { dtype: 'bfloat16' }, changes)
  })

  const besideTables = [
    ['lora', ['embed_tokens', 'lm_head', 'down_proj']],
    ['hira', ['lm_head', 'down_proj']],
  ] as const
  it.each(drawn('methods beside untied tables', besideTables, 1))(
    'train %s beside untied tables',
    async (method, targetModules) => {
      await expectSame(2, tiny, {}, { method, dropout: 0, targetModules: [...targetModules] })
    },
  )

  it('train a table whole', async () => {
    await expectSame(2, tiny, {}, { method: 'lora', modulesToSave: ['lm_head'] })
  })

  const families = ['gpt2', 'gemma3', 'phi3', 'smollm3', 'lfm2', 'qwen3_5-text', 'qwen3_5']
  for (const family of drawn('families of sharded models', families, 1))
    needing(lacksGolden(familyPath(family))).it(`train a model of ${family}`, async () => {
      await expectSame(2, familyFolder(family), {}, { method: 'mora', targetModules: 'all-linear' })
    })

  needing(lacksGolden('families2/gemma4-e2b-text')).it.each([false, true])(
    'train Gemma 4, whose blocks share keys and values (recomputed: %s)',
    async (gradientCheckpointing) => {
      const changes = { method: 'lora', targetModules: 'all-linear', gradientCheckpointing } as const
      await expectSame(2, goldenPath('families2/gemma4-e2b-text'), {}, changes)
    },
  )

  it('train beside blocks of GGUF', async () => {
    using model = await load(tiny, {})
    const path = join(folder(), 'model.gguf')
    await model.save(path, { dtype: 'q8_0' })
    await expectSame(3, path, { quantised: true }, { method: 'mora' })
  })

  it.each(drawn('formats of sharded models', QUANTISE_FORMATS, 1))(
    'train beside %s that they quantise',
    async (quantise) => {
      await expectSame(2, tiny, { quantise }, { method: 'lora' })
    },
  )

  it('quantise their parts only, never the whole model', async () => {
    const { path } = await deepModel(folder(), 3)
    const options = { quantise: 'q8_0' as const }
    const before = liveBytes(device)
    const peakOf = async (loaded: (shard: ShardRanks) => LoadOptions) => {
      device.resetPeak()
      const models = await Promise.all(localRanks(3).map((shard) => load(path, { ...options, ...loaded(shard) })))
      const { peak } = device.memory()
      for (const model of models) model.dispose()
      return peak - before
    }
    const whole = await peakOf(() => ({}))
    expect(await peakOf((shard) => ({ shard }))).toBeLessThan(0.75 * whole)
  })

  const sets = ['bnb-fp4', 'gptq-4-g32-asym-zero', 'bnb-nf4-double', 'gptq-4-g32-asym', 'awq-g32', 'ct-fp8-channel']
  for (const set of drawn('codes of sharded models', sets, 1))
    needing(lacksGolden(`quantised/${set}`)).it(`train beside codes of ${set}`, async () => {
      await expectSame(3, goldenPath(`quantised/${set}`), { quantised: true }, { method: 'lora' })
    })
})

needing(lacksCpu).describe('ranks that share the memory of a model', () => {
  const sharing = [
    ['an adapter', tiny, {}, { method: 'mora' }],
    ['an adapter that is merged into it', tiny, {}, { method: 'mora', mergeEvery: 2 }],
    ['what takes from its weights', tiny, { dtype: 'bfloat16' }, { method: 'pissa' }],
    ['a table whole', tiny, {}, { method: 'lora', modulesToSave: ['lm_head'] }],
    ['beside codes', goldenPath('quantised/gptq-4-g32-asym-zero'), { quantised: true }, { method: 'lora' }],
    ['short convolutions', familyFolder('lfm2'), {}, { method: 'mora', targetModules: 'all-linear' }],
    ['gated delta nets', familyFolder('qwen3_5-text'), {}, { method: 'mora', targetModules: 'all-linear' }],
  ] as const
  it.each(drawn('what trains in shared memory', sharing, 1))('train %s', async (_, path, options, changes) => {
    const given = { ...changes, ...('modulesToSave' in changes ? { modulesToSave: ['lm_head'] } : {}) }
    const [whole, shared] = [
      await trainedOn(3, path, 'whole', options, given as Partial<TrainOptions>),
      await trainedOn(3, path, 'shared', options, given as Partial<TrainOptions>),
    ]
    expect(shared.outcomes).toEqual(whole.outcomes)
    expect(whole.outcomes[0]!.largest).toBeGreaterThan(0)
  })
})

describe('a model that is sharded over ranks', () => {
  /** The first of two ranks' error on a run that both refuse. */
  async function refusal(
    changes: Partial<TrainOptions>,
    { shards = true, others = [] as Ranks[] } = {},
  ): Promise<string> {
    const all = localRanks(2)
    const models = await Promise.all(all.map((shard) => load(tiny, shards ? { shard } : {})))
    const ends = await Promise.allSettled(
      all.map((ranks, i) => trained(models[i]!, { ranks: others[i] ?? ranks, ...changes })),
    )
    for (const model of models) model.dispose()
    return String((ends[0] as PromiseRejectedResult).reason?.message)
  }

  it('is trained by those ranks, and cannot be changed', async () => {
    const others = /^The model is sharded over ranks, .* give train the ranks that loadModel had as shard\.$/
    expect(await refusal({}, { others: localRanks(2) })).toMatch(others)
    expect(await refusal({ ranks: undefined })).toMatch(others)
    expect(await refusal({ shard: 'base' }, { shards: false })).toMatch(
      /^The option shard is base, but each rank has the/,
    )
    expect(await refusal({ samplePrompt: ['a'] })).toMatch(/^The option samplePrompt needs/)
    expect(await refusal({ method: 'full', rank: undefined, dropout: undefined })).toMatch(
      /^The method full trains the weights themselves, but the model is sharded over ranks: load it without shard/,
    )
    expect(await refusal({ mergeEvery: 2 })).toMatch(/^The option mergeEvery merges into the weights themselves/)
  })

  it.each([
    [3, 2, 0],
    [3, 2, 3],
    [2, 0, 0],
    [2, 0, 1],
  ])('of %i ranks ends on all with the error of rank %i, in its pass %i', async (size, rank, pass) => {
    const all = localRanks(size)
    const models = await Promise.all(all.map((shard) => load(tiny, { shard })))
    const model = models[rank]!
    const hold = model.holdForTraining.bind(model)
    let made = 0
    model.holdForTraining = () => {
      const held = hold()
      const loss = held.passes.lossAsync.bind(held.passes)
      held.passes.lossAsync = (batch, options) => {
        if (made++ === pass) throw new Error('It is too warm here.')
        return loss(batch, options)
      }
      return held
    }
    const ends = await Promise.allSettled(all.map((ranks, i) => trained(models[i]!, { method: 'lora', ranks })))
    const messages = ends.map((end) => String((end as PromiseRejectedResult).reason?.message))
    const other = `Rank ${rank} failed: It is too warm here.`
    expect(messages).toEqual(all.map((_, i) => (i === rank ? 'It is too warm here.' : other)))
    for (const one of models) one.dispose()
  })
})
