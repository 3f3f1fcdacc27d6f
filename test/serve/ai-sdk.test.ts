/** Vercel's `ai` package as a client, by `@ai-sdk/openai-compatible`. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from 'ai'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Model } from '../../lib/models/index.js'
import { IDLE, NAME, script, startServer, tinyModel, watchTexts } from './tiny-server.js'

let tiny: Model
let server: Awaited<ReturnType<typeof startServer>>
let provider: ReturnType<typeof createOpenAICompatible>
const asked = watchTexts()
beforeAll(async () => {
  tiny = await tinyModel()
  server = await startServer(tiny, { apiKeys: ['sk-test'] })
  provider = createOpenAICompatible({
    name: 'mora',
    baseURL: `${server.origin}/v1`,
    apiKey: 'sk-test',
    includeUsage: true,
    supportsStructuredOutputs: true,
  })
})
afterEach(() => expect(server.errors).toEqual([]))
afterAll(async () => {
  await server.close()
  tiny.dispose()
})

const Person = z.object({ name: z.string(), age: z.number() })
const chat = () => provider.chatModel(NAME)

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = []
  for await (const item of items) list.push(item)
  return list
}

describe('the ai package', () => {
  it('gets texts, whole and streamed, from chats and completions', async () => {
    for (const model of [chat(), provider.completionModel(NAME)]) {
      const request = { model, prompt: 'Say hi.', maxOutputTokens: 9, seed: 1 }
      const { text, usage, finishReason } = await generateText(request)
      expect(text).not.toBe('')
      expect({ finishReason, tokens: usage.outputTokens }).toEqual({ finishReason: 'length', tokens: 9 })
      const streamed = streamText(request)
      const pieces = await all(streamed.textStream)
      expect(pieces.length).toBeGreaterThan(1)
      expect(pieces.join('')).toBe(text)
      expect((await streamed.usage).outputTokens).toBe(9)
    }
  })

  it('gets objects of a schema', async () => {
    script(() => [{ text: '{"name": "Ada", ' }, { text: '"age": 36}' }])
    const { object } = await generateObject({ model: chat(), schema: Person, prompt: 'Who?' })
    expect(object).toEqual({ name: 'Ada', age: 36 })
    expect(asked.mock.lastCall![0].schema).toMatchObject({ required: ['name', 'age'] })
    const { partialObjectStream } = streamObject({ model: chat(), schema: Person, prompt: 'Who?' })
    expect((await all(partialObjectStream)).at(-1)).toEqual(object)
  })

  it('runs tools, and tells the model their results', async () => {
    const toolCalls = [{ name: 'getTime', arguments: { zone: 'UTC' }, argumentsText: '{"zone": "UTC"}' }]
    script(({ messages }) => (messages!.at(-1)!.role === 'tool' ? [{ text: 'Noon.' }] : [{ toolCalls }]))
    const getTime = tool({ inputSchema: z.object({ zone: z.string() }), execute: async ({ zone }) => `12:00 ${zone}` })
    const request = { model: chat(), prompt: 'When?', tools: { getTime }, stopWhen: stepCountIs(3) }
    expect((await generateText(request)).text).toBe('Noon.')
    expect(await streamText(request).text).toBe('Noon.')
    expect(asked.mock.lastCall![0].messages!.slice(1)).toMatchObject([
      { role: 'assistant', tool_calls: [{ function: { name: 'getTime', arguments: '{"zone":"UTC"}' } }] },
      { role: 'tool', content: '12:00 UTC' },
    ])
  })

  it('gets embeddings', async () => {
    const { embeddings } = await embedMany({ model: provider.embeddingModel(NAME), values: ['Hi', 'Ho'] })
    expect(embeddings.map((values) => values.length)).toEqual([tiny.config.hiddenSize, tiny.config.hiddenSize])
  })

  it('reads errors', async () => {
    const ask = generateText({ model: provider.chatModel('x'), prompt: 'Hi', maxRetries: 0 })
    await expect(ask).rejects.toMatchObject({ statusCode: 404, message: expect.stringContaining('does not exist') })
    const stranger = createOpenAICompatible({ name: 'mora', baseURL: `${server.origin}/v1`, apiKey: 'other' })
    const refused = generateText({ model: stranger.chatModel(NAME), prompt: 'Hi', maxRetries: 0 })
    await expect(refused).rejects.toMatchObject({ statusCode: 401, message: 'The API key is wrong.' })
  })

  it('ends the text when it aborts', async () => {
    const leaving = new AbortController()
    const { textStream } = streamText({ model: chat(), prompt: 'Hi', abortSignal: leaving.signal, onError: () => {} })
    for await (const _ of textStream) leaving.abort()
    await expect.poll(() => server.load()).toEqual(IDLE)
  })
})
