/** Many texts at once: each as it is alone. */
import { afterAll, describe, expect } from 'vitest'
import { generate, TextEngine } from '../../lib/generate/index.js'
import { loadModel } from '../../lib/models/index.js'
import { assetPath, lacksRealModel, REAL_MODEL } from '../assets.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const before = liveBytes(device)
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(before))

const { test } = needing(lacksRealModel)
const load = () => loadModel(assetPath(REAL_MODEL))
const prompts = ['Count to ten.', 'Name a colour.', 'What is the capital of France? Answer in one word.', 'Say hello.']
const call = { maxNewTokens: 12, temperature: 0.7, seed: 3 }

describe('generate', () => {
  test('with prompts gives a list in their order', async () => {
    using model = await load()
    const together = await generate(model, { ...call, prompts })
    expect(together).toHaveLength(prompts.length)
    for (const [i, prompt] of prompts.entries()) {
      const { promptTokens, newTokens } = await generate(model, { ...call, prompt })
      expect(together[i]).toMatchObject({ promptTokens })
      expect(newTokens).toBeGreaterThan(0)
    }
  })

  test('n texts of a prompt have draws of their own, and the first is that of one alone', async () => {
    using model = await load()
    const texts = await generate(model, { ...call, prompt: prompts[0]!, n: 4 })
    expect(new Set(texts.map(({ text }) => text)).size).toBeGreaterThan(1)
    const again = await generate(model, { ...call, prompt: prompts[0]!, n: 4 })
    expect(again.map(({ ids }) => ids)).toEqual(texts.map(({ ids }) => ids))
  })

  test('refuses prompts beside a prompt', async () => {
    using model = await load()
    await expect(generate(model, { prompts, prompt: 'x' })).rejects.toMatchObject({ code: 'unfit-options' })
  })
})

test('texts stream beside each other, end before stop strings, and leave nothing behind', async () => {
  using model = await load()
  await using engine = new TextEngine(model)
  const stopped = engine.generate({ prompt: prompts[0]!, maxNewTokens: 60, stop: 'e' })
  const pieces: string[] = []
  for await (const { text } of engine.stream({ prompt: prompts[1]!, maxNewTokens: 20 })) pieces.push(text)
  expect(pieces.join('')).toBe((await generate(model, { prompt: prompts[1]!, maxNewTokens: 20 })).text)
  const { text, finishReason } = await stopped
  expect(text).not.toContain('e')
  expect(finishReason).toBe('stop')
  expect(engine.usage).toMatchObject({ running: 0, waiting: 0, pagesUsed: 0 })
})
