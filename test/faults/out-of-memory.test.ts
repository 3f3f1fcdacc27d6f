/** Each allocation fails in turn: an error results, nothing is lost or leaked, and the next attempt succeeds. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { mora } from '../../lib/adapters/methods/mora.js'
import { newAdapterConfig } from '../../lib/adapters/new-adapter.js'
import { mergeModel } from '../../lib/models/adaptation/merge-on-disk.js'
import { loadModel } from '../../lib/models/load-model.js'
import type { Model } from '../../lib/models/model.js'
import { loadBinary, NativeError } from '../../lib/native/binary.js'
import { AdamW } from '../../lib/optim/adamw.js'
import { ADAPTER_METHODS } from '../../lib/options/index.js'
import { drawn } from '../drawn.js'
import { filesOfModel, onDevice } from '../fuzz/targets/tiny-model.js'
import { batchOf, logProbsOf } from '../golden/tiny-models.js'
import { quickFolder, writeFiles } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const scratch = quickFolder()
const at = (name: string) => join(scratch, name)
const load = () => loadModel(at('base/model'), onDevice)
const row = { input_ids: [3, 1, 4, 1, 5, 9, 2, 6] }

type Allocate = (...values: unknown[]) => unknown
const binary = loadBinary() as Record<'empty' | 'fromArray' | 'fromFile', Allocate>
const originals = { ...binary }

/** Counts allocations from here on; the one with the number `failing`, from 1, fails. */
function failAllocation(failing: number): () => number {
  let count = 0
  for (const name of ['empty', 'fromArray', 'fromFile'] as const) {
    binary[name] = (...values) => {
      if (++count === failing) throw new NativeError('out-of-memory', 'Out of memory on cpu: the test asked for it.')
      return originals[name](...values)
    }
  }
  return () => count
}

const allocateAgain = (): void => void Object.assign(binary, originals)

beforeAll(async () => {
  const files = await filesOfModel((model, folder) => model.save(join(folder, 'model')))
  // Without its tokenizer, whose reading allocates nothing.
  writeFiles(at('base'), new Map([...files].filter(([name]) => !/tokens|tokenizer/.test(name))))
})
afterEach(allocateAgain)
afterAll(() => {
  rmSync(scratch, { recursive: true })
  expect(liveBytes(device), 'bytes in use at the end').toBe(0)
})

/**
 * Lets each allocation of `work` fail once, until it succeeds.
 * @param same the state that a failure must not change
 */
async function failEach(work: () => Promise<void>, same: () => Promise<unknown>): Promise<void> {
  const before = await same()
  const rest = liveBytes(device)
  for (let failing = 1; ; failing++) {
    const counted = failAllocation(failing)
    const error = await work().then(
      () => null,
      (reason: unknown) => reason,
    )
    const isOver = counted() < failing
    allocateAgain()
    await device.synchronize()
    expect(liveBytes(device), `bytes in use after allocation ${failing} failed`).toBe(rest)
    if (isOver || failing % 16 === 1) expect(await same(), `after allocation ${failing}`).toEqual(before)
    if (isOver) {
      expect(error).toBeNull()
      expect(failing).toBeGreaterThan(3)
      return
    }
    expect(error, `allocation ${failing}`).toMatchObject({ code: 'out-of-memory' })
  }
}

async function takeStep(model: Model, optimizer: AdamW): Promise<void> {
  const { loss, targetTokens } = model.loss(batchOf([row]))
  try {
    await loss.backward()
    optimizer.step({ learningRate: 1e-3, scaleGradients: 1 / targetTokens, maxGradNorm: 1 }).dispose()
  } finally {
    loss.dispose()
    optimizer.zeroGrad()
  }
}

const logProbs = (model: Model) => logProbsOf(model, [row.input_ids])
const nothing = async () => null

describe('when an allocation fails', { timeout: 600_000 }, () => {
  test('anywhere in the life of a model, everything is freed', async () => {
    const life = async () => {
      using model = await load()
      model.addAdapter('a', mora({ rank: 2, permutation: { seed: 1, cycle: 0 } }))
      model.addAdapter('b', mora({ rank: 2, operator: 'sharing', targetModules: ['q_proj', 'v_proj'] }))
      const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
      try {
        await takeStep(model, optimizer)
        await logProbs(model)
      } finally {
        optimizer.dispose()
      }
    }
    await failEach(life, nothing)
  })

  test('while a token is generated, the model and its other caches are as they were', async () => {
    using model = await load()
    const work = async () => {
      const cache = model.createCache(16)
      try {
        await model.nextToken([1, 2, 3], cache, { temperature: 1, topK: 0, topP: 0.9, uniform: 0.5 })
        for (const id of [4, 5, 6]) await model.nextLogits([id], cache)
      } finally {
        cache.dispose()
      }
    }
    await work()
    await failEach(work, () => logProbs(model))
  })

  test('while a step is taken, the weights are those of before, or of after', async () => {
    using model = await load()
    model.addAdapter('a', lora({ rank: 2 }))
    const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
    await takeStep(model, optimizer)
    const values = () =>
      Promise.all(model.trainableParameters().map(async ({ parameter }) => [...(await parameter.data())]))
    let steps = 1
    const work = async () => {
      const before = await values()
      try {
        await takeStep(model, optimizer)
        steps++
      } catch (error) {
        allocateAgain()
        expect(await values()).toEqual(before)
        throw error
      }
    }
    await failEach(work, nothing)
    expect(Object.values(optimizer.state().updates).every((count) => count === steps)).toBe(true)
    optimizer.dispose()
  })

  test.each(drawn('methods out of memory', ADAPTER_METHODS, 4))(
    'while an adapter of %s is added, merged, taken out and removed',
    async (method) => {
      using model = await load()
      const config = newAdapterConfig(method, { rank: 2, operator: 'rotation', targetModules: ['q_proj', 'down_proj'] })
      await model.addAdapter('kept', lora({ rank: 2 }))
      await logProbs(model)
      const work = async () => {
        await model.addAdapter('a', config)
        try {
          await model.mergeAdapter('a')
          await model.unmergeAdapter('a')
        } finally {
          allocateAgain()
          // Where taking it out has failed, it is done again.
          await model.unmergeAdapter('a').catch(() => {})
          model.removeAdapter('a')
        }
      }
      await failEach(work, () => logProbs(model))
      expect([...model.adapters.keys()]).toEqual(['kept'])
    },
  )

  test('while a model is saved and an adapter is loaded and merged on disk', async () => {
    using model = await load()
    const adapter = at('adapter')
    await model.addAdapter('a', mora({ rank: 2 }))
    await model.saveAdapter('a', adapter)
    await logProbs(model)
    const work = async () => {
      await model.save(at('saved'), { mergeActive: true, overwrite: true })
      await model.loadAdapter(adapter, 'b')
      model.removeAdapter('b')
      await mergeModel({ model: at('base/model'), adapter, output: at('merged.gguf'), device: 'cpu', overwrite: true })
      const loaded = await load()
      loaded.dispose()
    }
    await failEach(work, () => logProbs(model))
  })
})
