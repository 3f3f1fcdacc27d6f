/** The memory of an adapter is known before it is made, and an adapter that cannot fit is refused. */
import { afterAll, describe, expect, test } from 'vitest'
import type { AdapterConfigBase } from '../../lib/adapters/contract/adapter.js'
import { newAdapterConfig } from '../../lib/adapters/new-adapter.js'
import { rankNotes } from '../../lib/adapters/planning/adapter-cost.js'
import { planAdapter } from '../../lib/adapters/planning/adapter-plan.js'
import type { Model } from '../../lib/models/model.js'
import type { FloatDType } from '../../lib/native/addon.js'
import { ADAPTER_METHODS, type AdapterMethodName, newAdapterOptions } from '../../lib/options/index.js'
import type { TrainEvent } from '../../lib/train/events.js'
import { train } from '../../lib/train/train.js'
import { batchOf, expectedOf, loadTiny } from '../golden/tiny-models.js'
import { expectRejection, fileOf, useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { writeRows } from '../train/tiny-run.js'

const device = testDevice()
const temporary = useTemporaryFolder()
const rows = expectedOf('tiny-untied').sequences.map((input_ids) => ({ input_ids }))
const configOf = (method: AdapterMethodName, more: object = {}): AdapterConfigBase =>
  newAdapterConfig(method, newAdapterOptions({ method, ...more }))
const planOf = (model: Model, config: AdapterConfigBase) =>
  planAdapter(config, model.adaptableLayers(), model.base, { dtype: model.dtype })

afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

/** Returns the bytes that `work` leaves in use. */
async function bytesOf(work: () => Promise<void> | void): Promise<number> {
  await device.synchronize()
  const before = liveBytes(device)
  await work()
  await device.synchronize()
  return liveBytes(device) - before
}

async function passes(model: Model): Promise<void> {
  const { loss } = model.loss(batchOf(rows))
  if (loss.requiresGrad) await loss.backward()
  loss.dispose()
}

const kinds = ADAPTER_METHODS.flatMap((method) =>
  (['float32', 'bfloat16'] as FloatDType[]).map((dtype) => ({ method, dtype })),
)

describe.each(kinds)('$method beside a model in $dtype', ({ method, dtype }) => {
  // Some layers have fewer than the 24 · (k + d) values that shira would train.
  test.each([2, method === 'shira' ? 5 : 24])('takes the memory of its estimate, with rank %d', async (rank) => {
    using model = await loadTiny('tiny-untied', dtype)
    await passes(model) // tables that stay are made
    const config = configOf(method, { rank, modulesToSave: ['norms'] })
    const { trained, values, kept } = planOf(model, config).cost
    // Each tensor starts at a multiple of 64 bytes, and DoRA keeps a row a layer.
    const slack = (bytes: number) => 0.02 * bytes + 1024 * model.linears().length
    const made = await bytesOf(() => model.addAdapter('a', config))
    expect(Math.abs(made - values)).toBeLessThan(slack(values))
    const parameters = model.trainableParameters().map(({ parameter }) => parameter)
    expect(parameters.reduce((sum, { elements }) => sum + elements, 0)).toBe(trained)
    const taken = await bytesOf(async () => {
      await passes(model)
      for (const parameter of parameters) parameter.zeroGrad()
    })
    expect(taken).toBeLessThan(kept + slack(kept))
  })
})

describe('a rank that is higher than a layer can use', () => {
  const layers = [
    { name: 'model.layers.0.q_proj', inFeatures: 64, outFeatures: 64 },
    { name: 'model.layers.0.k_proj', inFeatures: 64, outFeatures: 32 },
  ]
  // MoRA's matrix of a side of √(128 · rank) grows up to 64.
  const most: Record<AdapterMethodName, number> = {
    mora: 32,
    lora: 32,
    rslora: 32,
    'lora-plus': 32,
    dora: 32,
    hira: 32,
    pissa: 32,
    randlora: 32,
    vera: 32,
    gralora: 32,
    delora: 32,
    loha: 32,
    shira: 21,
    asylora: 64,
    'lora-fa': 64,
    miss: 64,
    oft: 64,
  }
  const refused: readonly AdapterMethodName[] = ['asylora', 'pissa', 'miss', 'shira']

  test.each(ADAPTER_METHODS)('of %s is refused or warned about, with the layer and its limit', (method) => {
    const limit = most[method]
    expect(rankNotes(configOf(method, { rank: limit }), layers)).toEqual([])
    const notes = () => rankNotes(configOf(method, { rank: limit + 1 }), layers)
    const sentence = new RegExp(`^Rank ${limit + 1} is more than the ${limit} .*model\\.layers\\.0\\.`)
    if (refused.includes(method)) {
      expect(notes).toThrow(expect.objectContaining({ code: 'invalid-rank', message: expect.stringMatching(sentence) }))
    } else expect(notes()).toEqual([expect.stringMatching(sentence)])
  })

  test('is that of a pattern if there is one', () => {
    expect(rankNotes(configOf('lora', { rank: 8, rankPattern: { k_proj: 33 } }), layers)).toEqual([
      'Rank 33 is more than the 32 that the change of model.layers.0.k_proj (64 → 32) can have; 1 of 2 layers gain nothing from such a rank.',
    ])
  })

  test.each([
    ['lora', 64],
    ['dora', 64],
    ['mora', 126],
  ] as const)('of %s is refused if it would train more values than the weights have', async (method, rank) => {
    using model = await loadTiny('tiny-untied')
    const add = (rank: number) => model.addAdapter('a', configOf(method, { rank }))
    const sentence = new RegExp(
      `^Rank 100000 would train \\d+ values in place of the \\d+ of the layers it is for: use a rank of at most ${rank}, or`,
    )
    expect(() => add(100_000)).toThrow(
      expect.objectContaining({ code: 'invalid-rank', message: expect.stringMatching(sentence) }),
    )
    await add(rank)
  })

  test('is warned about when an adapter is added, and by a run', async () => {
    using model = await loadTiny('tiny-untied')
    const heard: string[] = []
    const onWarning = (message: string) => void heard.push(message)
    await model.addAdapter('a', configOf('lora', { rank: 64 }), { onWarning })
    expect(heard).toEqual([expect.stringMatching(/^Rank 64 is more than the \d+ that the change of model\.layers/)])
    const noticed: string[] = []
    const onEvent = (event: TrainEvent) => void (event.type === 'notice' && noticed.push(event.message))
    const data = writeRows(temporary(), 'rows.jsonl', rows)
    await train(model, { data, maxSteps: 1, onEvent }).finished
    expect(noticed).toEqual(expect.arrayContaining(heard))
  })
})

describe('an adapter that cannot fit', () => {
  const huge = 10_000_000

  test.each(ADAPTER_METHODS.filter((method) => !['mora', 'asylora', 'pissa', 'miss', 'shira', 'oft'].includes(method)))(
    'of %s is refused before memory is taken for it',
    async (method) => {
      using model = await loadTiny('tiny-untied')
      const config = configOf(method, { rank: huge })
      device.resetPeak()
      const { inUse } = device.memory()
      expect(() => model.addAdapter('a', config)).toThrow(
        expect.objectContaining({
          code: 'too-little-memory',
          exitCode: 2,
          message: expect.stringMatching(
            /^Adapter a \(.*, rank 10000000\) needs about [\d.]+ GiB of memory, but .* free: give it a lower rank/,
          ),
        }),
      )
      expect(device.memory().peak).toBe(inUse)
      expect(model.adapters.size).toBe(0)
    },
  )

  test('of a run counts gradients and moments, and is refused before rows are read', async () => {
    using model = await loadTiny('tiny-untied')
    device.resetPeak()
    const { inUse } = device.memory()
    const data = fileOf(temporary(), 'rows.jsonl', 'no row')
    const run = train(model, { data, method: 'lora', rank: huge })
    await expectRejection(
      run.finished,
      'too-little-memory',
      /GiB for 256 tokens at a time \(.* for tensors, of which .* trained values, .*\): give it more, train fewer values \(a lower rank, fewer targetModules\), or use gradientCheckpointing\.$/,
    )
    expect(device.memory().peak).toBe(inUse)
  })
})
