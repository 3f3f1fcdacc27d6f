/** Many texts at once: each as it is alone. */
import { afterAll, describe, expect } from 'vitest'
import { packBatch } from '../../lib/batches/packing.js'
import { Chat, drain, generate, TextEngine } from '../../lib/generate/index.js'
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

test('log-probabilities are those of the model, whatever the options; a prompt has its own', async () => {
  using model = await load()
  const options = { prompt: prompts[1]!, maxNewTokens: 6, logprobs: true, topLogprobs: 3, promptLogprobs: true }
  const { ids, logprobs, promptLogprobs, promptTokens } = await generate(model, { ...options, repetitionPenalty: 1.3 })
  expect(logprobs!.map(({ id }) => id)).toEqual(ids)
  expect(promptLogprobs).toHaveLength(promptTokens)
  const all = [...promptLogprobs!.map(({ id }) => id), ...ids]
  const mask = all.map((_, i) => Number(i > 0))
  // Passes of at most 64 tokens round otherwise.
  const rows = [0, 1, 2].map((row) => ({ ids: all, mask, row }))
  const expected = await model.tokenLogProbs(packBatch(rows))
  const [first, ...others] = [...promptLogprobs!, ...logprobs!]
  expect(first!.logprob).toBeNull()
  for (const [i, { logprob }] of others.entries()) {
    // So do those of one token, which write the answer.
    const most = i < promptTokens - 1 ? 1e-5 : 0.15
    expect(Math.abs(logprob! - expected[i]!)).toBeLessThan(most)
  }
  for (const { top } of logprobs!)
    expect(top.map(({ logprob }) => logprob)).toEqual(top.map(({ logprob }) => logprob).toSorted((a, b) => b - a))
})

test('penalties, bans and least lengths', async () => {
  using model = await load()
  const prompt = 'Repeat the word yes many times.'
  const plain = await generate(model, { prompt, maxNewTokens: 24 })
  const [said] = plain.ids as [number]
  const { ids } = await generate(model, { prompt, maxNewTokens: 24, noRepeatNgram: 1 })
  expect(new Set(ids).size).toBe(ids.length)
  const banned = await generate(model, { prompt, maxNewTokens: 24, logitBias: { [said]: -100 } })
  expect(banned.ids).not.toContain(said)
  const words = await generate(model, { prompt, maxNewTokens: 24, badWords: ['yes', 'Yes'] })
  expect(words.text.toLowerCase()).not.toContain('yes')
  const long = await generate(model, { prompt: 'Say hello.', maxNewTokens: 40, minNewTokens: 40 })
  expect(long.newTokens).toBe(40)
})

test('a prompt of ids is continued as it is', async () => {
  using model = await load()
  const ids = await model.tokenizer!.encode('The capital of France is')
  const one = await generate(model, { prompt: ids, maxNewTokens: 4 })
  expect(one.promptTokens).toBe(ids.length)
  expect(one.ids).toEqual(
    (await generate(model, { prompt: 'The capital of France is', raw: true, maxNewTokens: 4 })).ids,
  )
})

test('texts that must be something are that, at any temperature, beside free ones', async () => {
  // In float32, what is written beside a text changes nothing of it.
  using model = await loadModel(assetPath(REAL_MODEL), { dtype: 'float32' })
  await using engine = new TextEngine(model)
  const schema = {
    type: 'object',
    properties: { name: { type: 'string', maxLength: 12 }, legs: { type: 'integer' } },
    required: ['name', 'legs'],
  }
  const hot = { prompt: 'Describe a cat.', temperature: 1.5, maxNewTokens: 200 }
  const [json, choice, number, grammar, free] = await Promise.all([
    engine.generate({ ...hot, schema }),
    engine.generate({ ...hot, choices: ['yes', 'no'] }),
    engine.generate({ ...hot, regex: '[0-9]{3}-[0-9]{4}' }),
    engine.generate({ ...hot, grammar: 'root ::= "a" "b"*' }),
    engine.generate({ prompt: prompts[1]!, maxNewTokens: 12 }),
  ])
  const { name, legs } = JSON.parse(json!.text)
  expect([typeof name, Number.isInteger(legs)]).toEqual(['string', true])
  expect(['yes', 'no']).toContain(choice!.text)
  expect(number!.text).toMatch(/^[0-9]{3}-[0-9]{4}$/)
  expect(grammar!.text).toMatch(/^ab*$/)
  expect(free!.text).toBe((await generate(model, { prompt: prompts[1]!, maxNewTokens: 12 })).text)
  const never = engine.generate({ ...hot, regex: 'a(?=b)c' })
  await expect(never).rejects.toMatchObject({ code: 'unsupported-constraint' })
})

test('a text with a schema that ends by a stop string, or is left, leaves those beside it as they are', async () => {
  using model = await loadModel(assetPath(REAL_MODEL), { dtype: 'float32' })
  const free = { prompt: prompts[0]!, maxNewTokens: 30, temperature: 0.7 }
  const alone = await generate(model, free)
  await using engine = new TextEngine(model)
  const schema = { type: 'array', minItems: 20, items: { type: 'integer' } }
  const bound = { prompt: 'List numbers.', schema, maxNewTokens: 100 }
  const whole = engine.generate(free)
  const stopped = engine.generate({ ...bound, stop: ',' })
  const controller = new AbortController()
  const aborted = expect(engine.generate({ ...bound, signal: controller.signal })).rejects.toThrow('enough')
  for await (const _ of engine.stream(bound)) break
  controller.abort(new Error('enough'))
  expect((await stopped).text).not.toContain(',')
  expect((await whole).text).toBe(alone.text)
  await aborted
})

test('each answer of a chat conforms to its constraint', async () => {
  using model = await load()
  using chat = new Chat(model, { regex: '[0-9]{2}', temperature: 1, maxNewTokens: 20 })
  for (const question of ['How old are you?', 'And your cat?']) {
    expect((await drain(chat.say(question))).text).toMatch(/^[0-9]{2}$/)
  }
})
