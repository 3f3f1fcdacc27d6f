/** Caches of models with states: what cannot go back is read again. */
import { afterAll, expect, test } from 'vitest'
import { randomStream } from '../../../lib/common/random.js'
import { Engine } from '../../../lib/engine/index.js'
import { drain, GREEDY, type NewToken } from '../../../lib/generate/index.js'
import type { SequenceCache } from '../../../lib/models/network/sequence-cache.js'
import { familyExpected, familyFolder, familyPath, loadFamily } from '../../golden/families.js'
import { lacksGolden, largestDifference } from '../../golden/files.js'
import { loadTiny } from '../../golden/tiny-models.js'
import { liveBytes } from '../../live-bytes.js'
import { needing } from '../../needs.js'
import { testDevice } from '../../operations/harness.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const { test: testStates } = needing(lacksGolden(familyPath('lfm2')))

testStates('a cache with states forgets all tokens or none', async () => {
  using model = await loadFamily(familyFolder('lfm2'))
  const ids = familyExpected('lfm2').sequences.at(-1)!
  using fresh = model.createCache(20)
  const wanted = await model.nextLogits(ids.slice(0, 12), fresh)
  const readAll = async (cache: SequenceCache, known = 0) =>
    expect(largestDifference(await model.nextLogits(ids.slice(known, 12), cache), wanted)).toBeLessThan(1e-5)

  using cache = model.createCache(20)
  await model.nextLogits(ids.slice(0, 8), cache)
  expect(cache.rewind(8)).toBe(8)
  await readAll(cache, 8)
  expect(cache.rewind(5)).toBe(0)
  expect(cache.length).toBe(0)
  await readAll(cache)

  await expect(model.nextLogits(ids.slice(0, 9), cache)).rejects.toThrow(/cannot hold 21/)
  expect(cache.length, 'refused before anything was read').toBe(12)
  const failing = () => {
    throw new Error('in the middle')
  }
  expect(() => cache.reading(1, failing)).toThrow('in the middle')
  expect(cache.length).toBe(0)
  await readAll(cache)
})

testStates('prompts that begin alike, one after the other, give what each gives alone', async () => {
  using model = await loadFamily(familyFolder('lfm2'))
  const ids = familyExpected('lfm2').sequences.at(-1)!
  const next = async (engine: Engine, prompt: readonly number[]) => {
    const tokens: NewToken[] = []
    const request = { ids: prompt, maxNewTokens: 1, topLogprobs: 5, sampling: GREEDY, stopIds: new Set<number>() }
    await drain(engine.write({ ...request, random: randomStream(0, 'test') }), (token) => tokens.push(token))
    return tokens[0]!.top!
  }
  await using engine = new Engine(model, { sequences: 1 })
  const others = ids.slice(0, 10).with(4, ids[4]! + 1)
  for (const prompt of [ids.slice(0, 10), ids.slice(0, 15), ids.slice(0, 15), ids.slice(0, 6), others]) {
    await using alone = new Engine(model, { sequences: 1 })
    const [found, wanted] = [await next(engine, prompt), await next(alone, prompt)]
    expect(found.map(({ id }) => id)).toEqual(wanted.map(({ id }) => id))
    for (const [i, { logprob }] of found.entries()) expect(logprob).toBeCloseTo(wanted[i]!.logprob, 5)
  }
})

test('a cache without states goes back to any token', async () => {
  using model = await loadTiny('tiny-untied')
  using cache = model.createCache(8)
  await model.nextLogits([1, 2, 3, 4], cache)
  expect(cache.rewind(9)).toBe(4)
  expect(cache.rewind(3)).toBe(3)
  expect(() => cache.rewind(-1)).toThrow(/tokens/)
})
