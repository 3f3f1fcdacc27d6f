/** Generation chooses on the device the tokens that its logits choose on the host. */
import { afterAll, describe, expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { Engine } from '../../lib/engine/index.js'
import { drain, GREEDY, type Sampling } from '../../lib/generate/index.js'
import type { Model } from '../../lib/models/model.js'
import { liveBytes } from '../live-bytes.js'
import { drawn, settingsOf } from '../operations/cases/sampling.js'
import { testDevice } from '../operations/harness.js'
import { expectedOf, loadTiny, tinyModels } from './tiny-models.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const count = 12

async function generated(model: Model, prompt: readonly number[], sampling: Sampling, seed: number): Promise<number[]> {
  await using engine = new Engine(model, { sequences: 1 })
  const random = randomStream(seed, 'generate')
  const ids: number[] = []
  const request = { ids: prompt, maxNewTokens: count, sampling, random, stopIds: new Set<number>() }
  await drain(engine.write(request), ({ id }) => ids.push(id))
  return ids
}

/** Token by token from the logits of the whole sequence before it. */
async function chosenOnHost(
  model: Model,
  prompt: readonly number[],
  sampling: Sampling,
  seed: number,
): Promise<number[]> {
  const random = randomStream(seed, 'generate')
  const ids = [...prompt]
  while (ids.length < prompt.length + count) {
    using cache = model.createCache(ids.length)
    const logits = [...(await model.nextLogits(ids, cache))]
    const uniform = sampling.temperature === 0 ? 0 : random.uniform()
    ids.push(drawn(logits, uniform, settingsOf(sampling).map(Math.fround)))
  }
  return ids.slice(prompt.length)
}

describe.each([...tinyModels])('%s', (name) => {
  const prompt = expectedOf(name).sequences[0]!.slice(0, 9)
  test.each<Sampling>([
    GREEDY,
    { temperature: 1, topK: 0, topP: 1 },
    { temperature: 0.8, topK: 0, topP: 0.9 },
    { temperature: 1.5, topK: 20, topP: 1 },
    { temperature: 1.2, topK: 30, topP: 0.7 },
  ])('tokens with %j', async (sampling) => {
    using model = await loadTiny(name)
    const found = await generated(model, prompt, sampling, 5)
    expect(found).toEqual(await chosenOnHost(model, prompt, sampling, 5))
    expect(found).toHaveLength(count)
    expect(await generated(model, prompt, sampling, 5)).toEqual(found)
    if (sampling.temperature > 0) expect(await generated(model, prompt, sampling, 6)).not.toEqual(found)
  })
})
