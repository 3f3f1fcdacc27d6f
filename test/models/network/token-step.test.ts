/** Reading token by token, by replaying a recorded forward pass, against reading rows at once. */
import { afterAll, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { randomStream } from '../../../lib/common/random.js'
import type { Model } from '../../../lib/models/model.js'
import type { SequenceCache } from '../../../lib/models/network/sequence-cache.js'
import { largestDifference } from '../../golden/files.js'
import { loadTiny } from '../../golden/tiny-models.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const device = testDevice()
const before = liveBytes(device)
const ids = Array.from({ length: 24 }, (_, i) => 3 + ((11 * i) % 50))

afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(before))

/** Logits after all of the ids, read at once. */
async function wholeRow(model: Model, known: readonly number[]): Promise<Float32Array> {
  using cache = model.createCache(known.length)
  return await model.nextLogits(known, cache)
}

/** Reads one token after the other, and compares the logits after each. */
async function readOn(model: Model, cache: SequenceCache, tokens: number): Promise<void> {
  for (let i = 0; i < tokens; i++) {
    const at = cache.length
    const logits = await model.nextLogits([ids[at]!], cache)
    expect(largestDifference(logits, await wholeRow(model, ids.slice(0, at + 1))), `token ${at}`).toBeLessThan(1e-4)
  }
}

test.each(['tiny-untied', 'tiny-tied-llama3-rope'] as const)('%s: token by token as at once', async (name) => {
  using model = await loadTiny(name)
  using cache = model.createCache(ids.length)
  await readOn(model, cache, 6)
  cache.rewind(3) // the last tokens are forgotten
  await readOn(model, cache, ids.length - 3)
})

/** Gives all trained tensors new values. */
function change(model: Model, seed: number): void {
  const random = randomStream(seed, 'token-step')
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.1 * random.normal()))
}

test('changes between two tokens take effect: adapters, their scale and values, merging, the weights themselves', async () => {
  using model = await loadTiny('tiny-untied')
  /** Read from the first token on: keys and values of the old weights would differ. */
  const check = async (cache: SequenceCache) => {
    cache.rewind(0)
    await readOn(model, cache, 4)
  }
  using cache = model.createCache(ids.length)
  await check(cache)
  model.addAdapter('a', mora({ rank: 2 }))
  change(model, 1)
  await check(cache)
  model.setAdapterScale('a', 3)
  await check(cache)
  change(model, 2)
  await check(cache)
  model.addAdapter('b', lora({ rank: 2 }))
  model.setActiveAdapters(['b'])
  await check(cache)
  model.setActiveAdapters(['a'])
  await model.mergeAdapter('a')
  await check(cache)
  await model.unmergeAdapter('a')
  await check(cache)
  model.trainAll()
  await check(cache)
  change(model, 3)
  await check(cache)
})

test('more tokens than a cache has room for are refused, and the cache is unchanged', async () => {
  using model = await loadTiny('tiny-untied')
  using cache = model.createCache(3)
  await readOn(model, cache, 2)
  const full = { code: 'too-long', message: 'A cache with room for 3 tokens cannot hold 4.' }
  await expect(async () => model.nextLogits(ids.slice(2, 4), cache)).rejects.toMatchObject(full)
  await readOn(model, cache, 1)
  await expect(async () => model.nextLogits([5], cache)).rejects.toMatchObject(full)
})

test('a token that is read again gives the same bits', async () => {
  using model = await loadTiny('tiny-untied')
  using cache = model.createCache(8)
  const read = async () => {
    cache.rewind(5)
    return await model.nextLogits([9], cache)
  }
  await model.nextLogits(ids.slice(0, 5), cache)
  const first = await read() // as it comes
  expect(await read()).toEqual(first) // recorded
  expect(await read()).toEqual(first) // replayed
})

test('of sequences with adapters of their own, changes between two tokens take effect', async () => {
  using model = await loadTiny('tiny-untied')
  const room = { capacity: 64, slots: 3 }
  using replayed = model.createMemory(room)
  using recomputed = model.createMemory(room)
  const factors = [new Map<string, number>(), new Map([['a', 1]]), new Map([['b', 1]])]
  const base = model.withAdapters([])
  let known = 0
  const read = async (memory: typeof replayed): Promise<Float32Array> => {
    const parts = factors.map((own, slot) => ({
      ids: [3 + known + slot],
      known,
      rows: Array.from({ length: known }, (_, token) => 3 * token + slot),
      slot,
      rowLength: 1,
      factors: own,
    }))
    using logits = base.nextLogitsOf(parts, memory)
    return (await logits.data()) as Float32Array
  }
  const add = async (name: string, seed: number): Promise<void> => {
    await model.addAdapter(name, name === 'a' ? lora({ rank: 2 }) : mora({ rank: 2 }))
    model.setActiveAdapters([name])
    change(model, seed)
  }
  const check = async () => {
    for (let token = 0; token < 3; token++) {
      known++
      recomputed.step?.dispose()
      recomputed.step = null
      expect(await read(replayed)).toEqual(await read(recomputed))
    }
  }
  await add('a', 1)
  await add('b', 2)
  await check()
  change(model, 3) // the active b
  await check()
  factors[1] = new Map([['a', 0.5]])
  await check()
  for (const name of ['a', 'b']) {
    model.removeAdapter(name)
    await add(name, 4)
    await check()
  }
  factors.reverse()
  await check()
})
