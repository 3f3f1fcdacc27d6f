/** Vercel's `ai` package as a client, by `@ai-sdk/openai-compatible`. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from 'ai'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { loadChatTokenizer, startFake } from './fake-writer.js'

let fake: Awaited<ReturnType<typeof startFake>>
let provider: ReturnType<typeof createOpenAICompatible>
beforeAll(async () => {
  fake = await startFake(await loadChatTokenizer(), { apiKeys: ['sk-test'] })
  provider = createOpenAICompatible({
    name: 'mora',
    baseURL: `${fake.origin}/v1`,
    apiKey: 'sk-test',
    includeUsage: true,
    supportsStructuredOutputs: true,
  })
})
afterEach(() => {
  fake.writer.say = () => ({ pieces: [{ text: 'Hi' }, { text: ' there' }] })
  fake.writer.step = async () => {}
  expect(fake.errors).toEqual([])
})
afterAll(() => fake.close())

const Person = z.object({ name: z.string(), age: z.number() })
const chat = () => provider.chatModel('org/tiny')

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = []
  for await (const item of items) list.push(item)
  return list
}

describe('the ai package', () => {
  it('gets texts, whole and streamed, from chats and completions', async () => {
    for (const model of [chat(), provider.completionModel('org/tiny')]) {
      const { text, usage, finishReason } = await generateText({
        model,
        prompt: 'Say hi.',
        maxOutputTokens: 9,
        seed: 1,
      })
      expect({ text, finishReason, tokens: usage.outputTokens }).toEqual({
        text: 'Hi there',
        finishReason: 'stop',
        tokens: 2,
      })
      const streamed = streamText({ model, prompt: 'Say hi.' })
      expect(await all(streamed.textStream)).toEqual(['Hi', ' there'])
      expect((await streamed.usage).outputTokens).toBe(2)
    }
  })

  it('gets objects of a schema', async () => {
    fake.writer.say = () => ({ pieces: [{ text: '{"name": "Ada", ' }, { text: '"age": 36}' }] })
    const { object } = await generateObject({ model: chat(), schema: Person, prompt: 'Who?' })
    expect(object).toEqual({ name: 'Ada', age: 36 })
    expect(fake.writer.calls.at(-1)!.schema).toMatchObject({ required: ['name', 'age'] })
    const { partialObjectStream } = streamObject({ model: chat(), schema: Person, prompt: 'Who?' })
    expect((await all(partialObjectStream)).at(-1)).toEqual(object)
  })

  it('runs tools, and tells the model their results', async () => {
    const toolCalls = [{ name: 'getTime', argumentsText: '{"zone": "UTC"}' }]
    fake.writer.say = ({ messages }) =>
      messages!.at(-1)!.role === 'tool' ? { pieces: [{ text: 'Noon.' }] } : { pieces: [{ toolCalls }] }
    const getTime = tool({ inputSchema: z.object({ zone: z.string() }), execute: async ({ zone }) => `12:00 ${zone}` })
    const request = { model: chat(), prompt: 'When?', tools: { getTime }, stopWhen: stepCountIs(3) }
    expect((await generateText(request)).text).toBe('Noon.')
    expect(await streamText(request).text).toBe('Noon.')
    expect(fake.writer.calls.at(-1)!.messages!.slice(1)).toMatchObject([
      { role: 'assistant', tool_calls: [{ function: { name: 'getTime', arguments: '{"zone":"UTC"}' } }] },
      { role: 'tool', content: '12:00 UTC' },
    ])
  })

  it('gets embeddings', async () => {
    const { embeddings } = await embedMany({ model: provider.embeddingModel('org/tiny'), values: ['Hi', 'Ho'] })
    expect(embeddings.map((values) => values.length)).toEqual([4, 4])
  })

  it('reads errors', async () => {
    const ask = generateText({ model: provider.chatModel('x'), prompt: 'Hi', maxRetries: 0 })
    await expect(ask).rejects.toMatchObject({ statusCode: 404, message: expect.stringContaining('does not exist') })
    const stranger = createOpenAICompatible({ name: 'mora', baseURL: `${fake.origin}/v1`, apiKey: 'other' })
    const refused = generateText({ model: stranger.chatModel('org/tiny'), prompt: 'Hi', maxRetries: 0 })
    await expect(refused).rejects.toMatchObject({ statusCode: 401, message: 'The API key is wrong.' })
  })

  it('ends the text when it aborts', async () => {
    fake.writer.step = () => new Promise((resolve) => setTimeout(resolve, 2))
    fake.writer.say = () => ({ pieces: Array.from({ length: 250 }, () => ({ text: 'x' })) })
    const leaving = new AbortController()
    const { textStream } = streamText({ model: chat(), prompt: 'Hi', abortSignal: leaving.signal, onError: () => {} })
    for await (const _ of textStream) leaving.abort()
    await expect.poll(() => fake.writer.usage.running).toBe(0)
  })
})
