/** Vercel's `ai` package with models in this process. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { LanguageModelV4Prompt } from '@ai-sdk/provider'
import { embedMany, generateText, isStepCount, Output, rerank, streamText, tool } from 'ai'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { mora } from '../../lib/ai/index.js'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { embeddingsOf, scoresOf } from '../../lib/eval/index.js'
import { generate, TextEngine } from '../../lib/generate/index.js'
import { loadModel, type Model } from '../../lib/models/index.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { addRandomAdapter, CALLING, script, tinyModel, watchTexts } from '../serve/tiny-server.js'
import { templatePath } from '../text/tokenizer/small-tokenizer.js'

let tiny: Model
let engine: TextEngine
const asked = watchTexts()
const folder = useTemporaryFolder()
beforeAll(async () => {
  tiny = await tinyModel()
  await addRandomAdapter(tiny, 'odd', 1)
  engine = new TextEngine(tiny, { sequences: 4, tokens: 2048 })
})
afterEach(() => expect.poll(() => engine.usage).toMatchObject({ running: 0, waiting: 0, pagesUsed: 0 }))
afterAll(async () => {
  await engine.close()
  tiny.dispose()
})

const tinyChat = () => mora(engine)
const getTime = tool({ inputSchema: z.object({ zone: z.string() }), execute: async ({ zone }) => `12:00 ${zone}` })
const time = { name: 'getTime', arguments: { zone: 'UTC' }, argumentsText: '{"zone": "UTC"}' }
const Person = z.object({ name: z.string(), age: z.number() })

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = []
  for await (const item of items) list.push(item)
  return list
}

describe('a language model', () => {
  it('writes what generate writes, whole and streamed', async () => {
    const demo = await loadModel(DEMO_MODEL, { device: 'cpu', threads: 1 })
    try {
      const template = templatePath('chatml')
      const request = { model: mora(demo, { template }), prompt: 'Ada has', maxOutputTokens: 9 }
      const alone = await generate(demo, { prompt: 'Ada has', template, maxNewTokens: 9, parse: true })
      const { text, usage, finishReason, warnings, response } = await generateText(request)
      expect({ text, finishReason, warnings }).toEqual({ text: alone.text, finishReason: 'length', warnings: [] })
      expect(usage).toMatchObject({ inputTokens: alone.promptTokens, outputTokens: 9 })
      expect(response.modelId).toBe('demo-model')
      const streamed = streamText(request)
      const pieces = await all(streamed.textStream)
      expect(pieces.length).toBeGreaterThan(1)
      expect(pieces.join('')).toBe(text)
      expect(await streamed.usage).toEqual(usage)
      expect(await streamed.finishReason).toBe('length')
    } finally {
      demo.dispose()
    }
  })

  it('uses the adapter that it names, or none', async () => {
    const textOf = async (adapter: string | null) =>
      (await generateText({ model: mora(engine, { adapter }), prompt: 'Hi', maxOutputTokens: 4 })).text
    const texts = await Promise.all([textOf('odd'), textOf(null)])
    const alone = (adapters: string[]) => generate(tiny, { prompt: 'Hi', maxNewTokens: 4, parse: true, adapters })
    expect(texts).toEqual([(await alone(['odd'])).text, (await alone([])).text])
    expect(texts[0]).not.toBe(texts[1])
    expect(() => mora(tiny, { adapter: 'even' })).toThrow(/even/)
  })

  it('calls tools and reads their results', async () => {
    script(({ messages }) => (messages!.at(-1)!.role === 'tool' ? [{ text: 'Noon.' }] : [{ toolCalls: [time] }]))
    const request = { model: tinyChat(), prompt: 'When?', tools: { getTime }, stopWhen: isStepCount(3) }
    const { text, steps } = await generateText(request)
    expect(text).toBe('Noon.')
    expect(steps.map(({ finishReason }) => finishReason)).toEqual(['tool-calls', 'stop'])
    expect(await streamText(request).text).toBe('Noon.')
    const { messages, tools } = asked.mock.lastCall![0]
    expect(tools).toMatchObject([{ function: { name: 'getTime', parameters: { required: ['zone'] } } }])
    expect(messages!.slice(1)).toMatchObject([
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ function: { name: 'getTime', arguments: '{"zone":"UTC"}' } }],
      },
      { role: 'tool', name: 'getTime', content: '12:00 UTC' },
    ])
  })

  it('calls the tool that it must', async () => {
    const other = tool({ inputSchema: z.object({ n: z.enum(['one', 'two']) }) })
    const request = { model: tinyChat(), prompt: 'When?', tools: { other }, maxOutputTokens: 60 }
    for (const toolChoice of ['required', { type: 'tool', toolName: 'other' }] as const) {
      const { toolCalls, finishReason } = await generateText({ ...request, toolChoice })
      expect(toolCalls).toMatchObject([{ toolName: 'other', input: { n: expect.stringMatching(/^(one|two)$/) } }])
      expect(finishReason).toBe('tool-calls')
      const streamed = streamText({ ...request, toolChoice })
      const parts = await all(streamed.fullStream)
      expect(parts.map(({ type }) => type)).toEqual(expect.arrayContaining(['tool-input-start', 'tool-call']))
      expect(await streamed.toolCalls).toMatchObject(toolCalls.map(({ input, toolName }) => ({ input, toolName })))
    }
  })

  it('writes objects of a schema, also beside tools', async () => {
    script(() => [{ text: '{"name": "Ada", ' }, { text: '"age": 36}' }])
    const output = Output.object({ schema: Person })
    const ada = { name: 'Ada', age: 36 }
    expect((await generateText({ model: tinyChat(), prompt: 'Who?', output })).output).toEqual(ada)
    expect(asked.mock.lastCall![0]).toMatchObject({ schema: { required: ['name', 'age'] }, parse: false })
    const streamed = streamText({ model: tinyChat(), prompt: 'Who?', output, tools: { getTime } })
    expect((await all(streamed.partialOutputStream)).at(-1)).toEqual(ada)
    expect(asked.mock.lastCall![0].schema).toMatchObject({ anyOf: [{}, { required: ['name', 'age'] }] })
  })

  it('fits schemas', async () => {
    const choose = Output.choice({ options: ['sun', 'rain'] })
    const { output } = await generateText({ model: tinyChat(), prompt: 'Weather?', output: choose })
    expect(['sun', 'rain']).toContain(output)
    const settings = { providerOptions: { mora: { choices: ['A', 'B'] } } }
    const { text } = await generateText({ model: tinyChat(), prompt: 'Which?', ...settings })
    expect(['A', 'B']).toContain(text)
  })

  it('separates reasoning, and reads it again', async () => {
    script(() => [{ reasoning: 'Hm' }, { reasoning: 'm.' }, { text: 'No.' }])
    const { reasoningText, text, responseMessages } = await generateText({ model: tinyChat(), prompt: 'Why?' })
    expect({ reasoningText, text }).toEqual({ reasoningText: 'Hmm.', text: 'No.' })
    const { fullStream } = streamText({
      model: tinyChat(),
      messages: [...responseMessages, { role: 'user', content: 'Oh?' }],
    })
    const types = (await all(fullStream)).map(({ type }) => type)
    expect(types).toEqual(expect.arrayContaining(['reasoning-start', 'reasoning-end', 'text-start', 'text-end']))
    expect(types.indexOf('reasoning-end')).toBeLessThan(types.indexOf('text-start'))
    expect(asked.mock.lastCall![0].messages![0]).toEqual({
      role: 'assistant',
      content: 'No.',
      reasoning_content: 'Hmm.',
    })
  })

  it('takes settings from the call, its providerOptions and its own defaults, in this order', async () => {
    script(() => [{ text: 'Hi' }])
    const model = mora(engine, { temperature: 0.5, topK: 5, minP: 0.1, seed: 1 })
    const given = { temperature: 0.7, topP: 0.9, stopSequences: ['x'], presencePenalty: 1, frequencyPenalty: -1 }
    await generateText({ model, prompt: 'Hi', ...given, providerOptions: { mora: { temperature: 2, minP: 0.2 } } })
    const { stopSequences: stop, ...same } = given
    expect(asked.mock.lastCall![0]).toMatchObject({ ...same, stop, topK: 5, minP: 0.2, seed: 1 })
    expect(asked.mock.lastCall![0].maxNewTokens).toBe(tiny.config.maxPositions)
  })

  it('tells log-probabilities and pieces, if wanted', async () => {
    const request = { model: tinyChat(), prompt: 'Hi', maxOutputTokens: 2 }
    const { providerMetadata } = await generateText({ ...request, providerOptions: { mora: { topLogprobs: 1 } } })
    expect(providerMetadata!.mora!.logprobs).toMatchObject([{ top: [{}] }, { top: [{}] }])
    const raw = (await all(streamText({ ...request, include: { rawChunks: true } }).fullStream)).filter(
      ({ type }) => type === 'raw',
    )
    expect(raw.length).toBeGreaterThan(0)
  })

  it('warns of what it leaves out', async () => {
    const search = { type: 'provider', id: 'openai.web_search', name: 'search', args: {} } as const
    const strict = { type: 'function', name: 'f', inputSchema: { type: 'object' }, strict: true } as const
    const prompt: LanguageModelV4Prompt = [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }]
    const call = { prompt, tools: [search, strict], reasoning: 'high', maxOutputTokens: 1 } as const
    const { warnings } = await tinyChat().doGenerate({ ...call, tools: [...call.tools] })
    expect(warnings).toMatchObject([
      { type: 'unsupported', feature: 'execution by a provider of the tool search' },
      { type: 'unsupported', feature: 'strict of the tool f' },
      { type: 'unsupported', feature: 'reasoning' },
    ])
  })

  it('tells a template how much to think', async () => {
    const path = join(folder(), 'thinking.jinja')
    writeFileSync(path, `{# enable_thinking reasoning_effort #}${CALLING}`)
    script(() => [{ text: 'Hi' }])
    const model = mora(engine, { template: path, templateOptions: { other: 1 } })
    await generateText({ model, prompt: 'Hi', reasoning: 'low' })
    const told = { enable_thinking: true, reasoning_effort: 'low', other: 1 }
    expect(asked.mock.lastCall![0].templateOptions).toEqual(told)
    await generateText({ model, prompt: 'Hi', reasoning: 'none' })
    expect(asked.mock.lastCall![0].templateOptions).toEqual({ enable_thinking: false, other: 1 })
  })

  it('reads files of text, and refuses others by name', async () => {
    script(() => [{ text: 'Hi' }])
    const ask = (mediaType: string) => {
      const file = { type: 'file', mediaType, data: Buffer.from('A note.') } as const
      const content = [{ type: 'text' as const, text: 'Read.' }, file]
      return generateText({ model: tinyChat(), messages: [{ role: 'user', content }], maxRetries: 0 })
    }
    await ask('text/plain')
    expect(asked.mock.lastCall![0].messages![0]!.content).toMatchObject([{ text: 'Read.' }, { text: 'A note.' }])
    await expect(ask('image/png')).rejects.toMatchObject({
      code: 'unsupported-content',
      message: expect.stringContaining('image/png'),
    })
  })

  it('refuses wrong settings by name', async () => {
    // @ts-expect-error: no such setting
    expect(() => mora(tiny, { temprature: 1 })).toThrow('did you mean temperature?')
    const providerOptions = { mora: { messages: [] } }
    const ask = generateText({ model: tinyChat(), prompt: 'Hi', providerOptions, maxRetries: 0 })
    await expect(ask).rejects.toMatchObject({ code: 'unknown-option' })
    // @ts-expect-error: no model
    expect(() => mora('gpt-5')).toThrow(/Expected a model/)
    const long = generateText({ model: tinyChat(), prompt: 'a b '.repeat(600), maxRetries: 0 })
    await expect(long).rejects.toMatchObject({ code: 'prompt-too-long' })
  })

  it('ends the text when the caller aborts or leaves', async () => {
    const leaving = new AbortController()
    const request = { model: tinyChat(), prompt: 'Hi' }
    const parts: string[] = []
    for await (const { type } of streamText({ ...request, abortSignal: leaving.signal }).fullStream) {
      parts.push(type)
      if (type === 'text-delta') leaving.abort()
    }
    expect(parts.at(-1)).toBe('abort')
    const asking = new AbortController()
    const aborted = generateText({ ...request, abortSignal: asking.signal, maxRetries: 0 })
    asking.abort()
    await expect(aborted).rejects.toThrow(/abort/)
    const prompt: LanguageModelV4Prompt = [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }]
    const { stream } = await tinyChat().doStream({ prompt })
    for await (const { type } of stream) if (type === 'text-delta') break
  })
})

it('embeds texts', async () => {
  const values = ['Hi', 'Ho there']
  const { embeddings, usage } = await embedMany({ model: mora.embedding(tiny), values })
  expect(embeddings).toEqual((await embeddingsOf(tiny, values)).map((state) => [...state]))
  const ids = await Promise.all(values.map((text) => tiny.tokenizer!.encodeText(text)))
  expect(usage.tokens).toBe(ids.flat().length)
  const { embeddings: others } = await embedMany({ model: mora.embedding(tiny, { adapter: 'odd' }), values })
  expect(others).not.toEqual(embeddings)
})

it('ranks documents by the head of a reward model', async () => {
  expect(() => mora.reranking(tiny)).toThrow(/objective reward/)
  using judge = await tinyModel()
  judge.addHead(['score'])
  const documents = ['A cat.', 'A dog.', 'A long tale of a fish.']
  const scores = await scoresOf(
    judge,
    documents.map((completion) => ({ prompt: 'Pets?', completion })),
  )
  const best = scores
    .flat()
    .map((score, index) => ({ score, index }))
    .sort((a, b) => b.score - a.score)
  const { ranking } = await rerank({ model: mora.reranking(judge), documents, query: 'Pets?', topN: 2 })
  expect(ranking.map(({ score, originalIndex: index }) => ({ score, index }))).toEqual(best.slice(0, 2))
})
