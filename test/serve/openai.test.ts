/** The `openai` package as a client. */
import OpenAI from 'openai'
import { zodResponseFormat } from 'openai/helpers/zod'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { type GenerateOptions, TextEngine } from '../../lib/generate/index.js'
import type { Model } from '../../lib/models/index.js'
import {
  addRandomAdapter,
  hold,
  IDLE,
  NAME as model,
  script,
  startServer,
  tinyModel,
  watchTexts,
} from './tiny-server.js'

let tiny: Model
let alone: TextEngine
let server: Awaited<ReturnType<typeof startServer>>
let client: OpenAI
const asked = watchTexts()
beforeAll(async () => {
  tiny = await tinyModel()
  alone = new TextEngine(tiny)
})
beforeEach(async () => {
  server = await startServer(tiny)
  client = new OpenAI({ baseURL: `${server.origin}/v1`, apiKey: 'none', maxRetries: 0 })
  asked.mockClear()
})
afterEach(async () => {
  await server.close()
  expect(await server.load()).toEqual(IDLE)
  expect(server.errors).toEqual([])
})
afterAll(async () => {
  await alone.close()
  tiny.dispose()
})

/** What the server has asked its engine for. */
const calls = () => asked.mock.calls.map(([call, sample]) => ({ ...call, sample }))
/** What the same options give without a server. */
const generated = (call: GenerateOptions, sample = 0) =>
  alone.generate({ temperature: 1, adapters: [], ...call }, sample)

const messages = [{ role: 'user' as const, content: 'Say hi.' }]
const zone = { enum: ['UTC', 'CET'] }
/** A list of numbers and of lists of numbers. */
const $defs = { Terms: { type: 'array', items: { anyOf: [{ type: 'integer' }, { $ref: '#/$defs/Terms' }] } } }

const clock = {
  type: 'function' as const,
  function: {
    name: 'get_time',
    description: 'The time.',
    parameters: { type: 'object', properties: { zone }, required: ['zone'], additionalProperties: false },
  },
}

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = []
  for await (const item of items) list.push(item)
  return list
}

describe('completions', () => {
  it('continue a prompt', async () => {
    const answer = await client.completions.create({ model, prompt: 'Once', max_tokens: 8, seed: 3 })
    const { text, promptTokens, newTokens, finishReason } = await generated({
      prompt: 'Once',
      raw: true,
      maxNewTokens: 8,
      seed: 3,
    })
    expect(answer).toMatchObject({
      object: 'text_completion',
      model,
      choices: [{ index: 0, text, finish_reason: finishReason, logprobs: null }],
      usage: { prompt_tokens: promptTokens, completion_tokens: newTokens, total_tokens: promptTokens + newTokens },
    })
    expect(calls()[0]).toMatchObject({ prompt: 'Once', raw: true, maxNewTokens: 8, seed: 3, adapters: [] })
  })

  it('of several prompts have n texts each, in order', async () => {
    const prompts = [
      [1, 5],
      [1, 6, 7],
    ]
    const { choices, usage } = await client.completions.create({ model, prompt: prompts, n: 2 })
    const seeds = new Set(calls().map(({ seed }) => seed))
    expect(seeds.size).toBe(1)
    const [seed] = seeds as Set<number>
    const texts = await Promise.all(
      prompts.flatMap((prompt) =>
        [0, 1].map((sample) => generated({ prompt, raw: true, maxNewTokens: 16, seed: seed! }, sample)),
      ),
    )
    expect(choices.map(({ index, text }) => [index, text])).toEqual(texts.map(({ text }, index) => [index, text]))
    expect(new Set(choices.map(({ text }) => text)).size).toBe(4)
    const written = texts.reduce((sum, { newTokens }) => sum + newTokens, 0)
    expect(usage).toMatchObject({ prompt_tokens: 5, completion_tokens: written, total_tokens: 5 + written })
  })

  it('have log-probabilities, of the prompt too', async () => {
    const call = { prompt: 'Hi', raw: true, maxNewTokens: 1, temperature: 0, promptLogprobs: true, topLogprobs: 2 }
    const { text, promptTokens, promptLogprobs, logprobs } = await generated(call)
    const expected = [...promptLogprobs!, ...logprobs!]
    const request = { model, prompt: 'Hi', echo: true, logprobs: 2, max_tokens: 1, temperature: 0 }
    const [choice] = (await client.completions.create(request)).choices
    expect(choice).toMatchObject({ text: `Hi${text}`, finish_reason: 'length' })
    const { tokens, token_logprobs, top_logprobs, text_offset } = choice!.logprobs!
    expect(tokens).toEqual(expected.map(({ token }) => token))
    expect(token_logprobs).toEqual(expected.map(({ logprob }) => logprob))
    expect(token_logprobs![0]).toBeNull()
    const { top } = logprobs![0]!
    expect(top_logprobs!.at(-1)).toEqual(Object.fromEntries(top.map(({ token, logprob }) => [token, logprob])))
    expect(text_offset!.at(-1)).toBe(tokens!.slice(0, -1).join('').length)
    const none = await client.completions.create({ ...request, max_tokens: 0 })
    expect(none.choices[0]).toMatchObject({ text: 'Hi', finish_reason: 'length' })
    expect(none.choices[0]!.logprobs!.tokens).toHaveLength(promptTokens)
  })

  it('list a token beside the likeliest ones where it is none of them', async () => {
    script(() => [{ text: 'Hi' }])
    const [choice] = (await client.completions.create({ model, prompt: 'a', logprobs: 2 })).choices
    expect(choice!.logprobs!.top_logprobs).toEqual([{ Hi: -0.25, '!': -1, ' ': -2 }])
  })

  it('stream, with usage last', async () => {
    const request = { model, prompt: 'Once', seed: 1, max_tokens: 8, echo: true }
    const whole = await client.completions.create(request)
    const chunks = await all(
      await client.completions.create({ ...request, stream: true, stream_options: { include_usage: true } }),
    )
    const texts = chunks.flatMap(({ choices: [choice] }) => (choice ? [choice.text] : []))
    expect(texts[0]).toMatch(/^Once./)
    expect(texts.join('')).toBe(whole.choices[0]!.text)
    expect(texts.length).toBeGreaterThan(3)
    const reasons = chunks.map(({ choices: [choice] }) => choice?.finish_reason)
    expect(reasons.slice(0, -2).every((reason) => reason === null)).toBe(true)
    expect(reasons.slice(-2)).toEqual([whole.choices[0]!.finish_reason, undefined])
    expect(chunks.map(({ usage }) => usage?.completion_tokens)).toEqual([
      ...texts.map(() => undefined),
      whole.usage!.completion_tokens,
    ])
  })
})

describe('chats', () => {
  it('answer, with every parameter', async () => {
    const answer = await client.chat.completions.create({
      model,
      messages: [{ role: 'developer', content: 'Be brief.' }, ...messages],
      n: 2,
      max_completion_tokens: 16,
      temperature: 0.7,
      top_p: 0.9,
      presence_penalty: 0.5,
      frequency_penalty: -0.5,
      logit_bias: { 50: -100, 7: 2 },
      seed: 7,
      stop: ['\n', 'END'],
      user: 'u1',
      reasoning_effort: 'low',
    })
    expect(answer).toMatchObject({
      object: 'chat.completion',
      choices: [0, 1].map((index) => ({
        index,
        message: { role: 'assistant', content: expect.any(String) },
        logprobs: null,
        finish_reason: expect.stringMatching(/^(stop|length)$/),
      })),
    })
    const [first, second] = answer.choices.map(({ message }) => message)
    expect(first!.tool_calls).toBeUndefined()
    expect(first!.content).not.toBe(second!.content)
    const call = calls()[1]!
    const { signal, sample, ...options } = call
    expect((await generated(options, sample)).text).toBe(second!.content)
    expect(call).toMatchObject({
      messages: [{ role: 'system', content: 'Be brief.' }, ...messages],
      maxNewTokens: 16,
      temperature: 0.7,
      topP: 0.9,
      presencePenalty: 0.5,
      frequencyPenalty: -0.5,
      logitBias: { 50: -100, 7: 2 },
      seed: 7,
      sample: 1,
      stop: ['\n', 'END'],
      templateOptions: { reasoning_effort: 'low' },
    })
  })

  it('stream n answers, each with its role first', async () => {
    script((_, sample) => [{ text: `${sample}` }, { text: 'x' }])
    const chunks = await all(await client.chat.completions.create({ model, messages, n: 2, stream: true }))
    const of = (index: number) => chunks.flatMap(({ choices }) => choices.filter((choice) => choice.index === index))
    for (const index of [0, 1]) {
      expect(of(index).map(({ delta }) => delta)).toEqual([
        { role: 'assistant', content: '' },
        { content: `${index}` },
        { content: 'x' },
        {},
      ])
      expect(of(index).at(-1)!.finish_reason).toBe('stop')
    }
  })

  it('have usage in a chunk without choices, before the end', async () => {
    const streamed = { stream: true, stream_options: { include_usage: true } }
    const request = { model, messages, max_tokens: 2, ignore_eos: true, ...streamed }
    const response = await server.post('/v1/chat/completions', request)
    const lines = (await response.text()).trim().split('\n\n')
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
    expect(lines.at(-1)).toBe('data: [DONE]')
    expect(JSON.parse(lines.at(-2)!.slice(6))).toMatchObject({ choices: [], usage: { completion_tokens: 2 } })
    expect(JSON.parse(lines[0]!.slice(6))).toMatchObject({ usage: null })
  })

  it('have log-probabilities with bytes', async () => {
    script(() => [{ text: 'é' }, { text: '\ufffd' }])
    const request = { model, messages, logprobs: true, top_logprobs: 2 }
    const { content } = (await client.chat.completions.create(request)).choices[0]!.logprobs!
    expect(content).toEqual([
      { token: 'é', bytes: [195, 169], logprob: -0.25, top_logprobs: expect.any(Array) },
      { token: '\ufffd', bytes: null, logprob: -0.25, top_logprobs: expect.any(Array) },
    ])
    expect(content![0]!.top_logprobs).toEqual([
      { token: '!', bytes: [33], logprob: -1 },
      { token: ' ', bytes: [32], logprob: -2 },
    ])
    const chunks = await all(await client.chat.completions.create({ ...request, stream: true }))
    const streamed = chunks.flatMap(({ choices }) => choices[0]?.logprobs?.content ?? [])
    expect(streamed).toEqual(content)
  })

  it('call tools', async () => {
    const said = ['UTC', 'CET'].map(
      (name, i) =>
        `<tool_call>\n{${i === 0 ? '"id": "c1", ' : ''}"name": "get_time", "arguments": {"zone": "${name}"}}\n</tool_call>`,
    )
    const text = `<think>\nHm.\n</think>\n\nLook: ${said.join('\n')}`
    const structured_outputs = { grammar: `root ::= ${JSON.stringify(text)}` }
    const request = { model, messages, tools: [clock], max_tokens: 200, structured_outputs }
    const [choice] = (await client.chat.completions.create(request)).choices
    expect(choice).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        content: 'Look:',
        reasoning_content: 'Hm.',
        tool_calls: [
          { id: 'c1', type: 'function', function: { name: 'get_time', arguments: '{"zone": "UTC"}' } },
          { id: expect.stringMatching(/^call_/), type: 'function', function: { arguments: '{"zone": "CET"}' } },
        ],
      },
    })
    expect(calls()[0]!.tools).toEqual([clock])
    const streamed = await client.chat.completions.stream(request).finalChatCompletion()
    expect(
      streamed.choices[0]!.message.tool_calls!.map((call) => 'function' in call && call.function.arguments),
    ).toEqual(['{"zone": "UTC"}', '{"zone": "CET"}'])
    expect(streamed.choices[0]!.finish_reason).toBe('tool_calls')
    const one = await client.chat.completions.create({ ...request, parallel_tool_calls: false })
    expect(one.choices[0]!.message.tool_calls).toHaveLength(1)
    await client.chat.completions.create({ ...request, tool_choice: 'none', max_tokens: 2 })
    expect(calls().at(-1)!.tools).toBeUndefined()
  })

  it('call the function that was chosen, or some function, by a schema', async () => {
    const request = { model, messages, tools: [clock], seed: 1 }
    const named = { ...request, tool_choice: { type: 'function' as const, function: { name: 'get_time' } } }
    const required = { ...request, tool_choice: 'required' as const }
    for (const [forced, reason] of [
      [named, 'stop'],
      [required, 'tool_calls'],
    ] as const) {
      const [choice] = (await client.chat.completions.create(forced)).choices
      expect(choice).toMatchObject({ finish_reason: reason, message: { content: null } })
      const [call] = choice!.message.tool_calls!
      expect(call).toMatchObject({ type: 'function', function: { name: 'get_time' } })
      const { arguments: text } = 'function' in call! ? call.function : { arguments: '' }
      expect(JSON.parse(text)).toEqual({ zone: expect.stringMatching(/^(UTC|CET)$/) })
      const stream = await client.chat.completions.stream(forced).finalChatCompletion()
      expect(stream.choices[0]!.message).toMatchObject({
        tool_calls: [{ function: { name: 'get_time', arguments: text } }],
      })
    }
    expect(calls()[0]!.schema).toEqual(clock.function.parameters)
  })

  it('call several functions where one is required, as they come', async () => {
    const sum = { type: 'function' as const, function: { name: 'sum', parameters: { $ref: '#/$defs/Terms', $defs } } }
    const request = { model, messages, tools: [clock, sum], tool_choice: 'required' as const }
    const written = await client.chat.completions.create({ ...request, seed: 3, max_tokens: 60, temperature: 2 })
    expect(written.choices[0]!.message.tool_calls).not.toHaveLength(0)
    const [one] = (await client.chat.completions.create({ ...request, parallel_tool_calls: false })).choices
    expect(one!.message.tool_calls).toHaveLength(1)
    const text = '[{"name": "get_time", "arguments": {"zone": "a\\"}]"}},{"name":"sum","arguments":[1, [2]]}]'
    const expected = [
      { function: { name: 'get_time', arguments: '{"zone": "a\\"}]"}' } },
      { function: { name: 'sum', arguments: '[1, [2]]' } },
    ]
    for (const length of [1, 7, text.length]) {
      script(() => (text.match(new RegExp(`.{1,${length}}`, 'g')) ?? []).map((text) => ({ text })))
      const [choice] = (await client.chat.completions.create(request)).choices
      expect(choice).toMatchObject({ finish_reason: 'tool_calls', message: { content: null, tool_calls: expected } })
      const stream = client.chat.completions.stream(request)
      const { choices } = await stream.finalChatCompletion()
      expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { tool_calls: expected } })
    }
  })

  it('call only functions that are allowed', async () => {
    const other = { type: 'function' as const, function: { name: 'other', parameters: clock.function.parameters } }
    const named = (name: string) => ({ type: 'function', function: { name } })
    const request = (mode: 'auto' | 'required', name: string) =>
      client.chat.completions.create({
        model,
        messages,
        tools: [clock, other],
        tool_choice: { type: 'allowed_tools', allowed_tools: { mode, tools: [named(name)] } },
        parallel_tool_calls: false,
        max_tokens: 100,
      })
    await request('auto', 'other')
    expect(calls()[0]).toMatchObject({ tools: [other] })
    expect(calls()[0]!.schema).toBeUndefined()
    const [choice] = (await request('required', 'other')).choices
    expect(choice!.message.tool_calls).toMatchObject([{ function: { name: 'other' } }])
    await expect(request('auto', 'nobody')).rejects.toMatchObject({
      status: 400,
      param: 'tool_choice',
      message: expect.stringContaining('"nobody"'),
    })
  })

  it('are calls also where a limit cuts them', async () => {
    const request = { model, messages, tools: [clock], tool_choice: 'required' as const, max_tokens: 1 }
    const parts: [string, string, string][] = [
      ['{"name": "get_time", "arguments": {"zo', 'get_time', '{"zo'],
      ['{"name":"get_time","arguments":{"zone":"a"}', 'get_time', '{"zone":"a"}'],
      ['[{"name": "get_time", "arguments": {"zone": "}]"}}, {"name": "get_', 'get_time', '{"zone": "}]"}'],
      ['{"name": "get_time", "argu', 'get_time', ''],
      ['{"name": "get_', 'get_', ''],
      ['{', '', ''],
    ]
    for (const [text, name, args] of parts) {
      script(() => [{ text }, { text: 'never' }])
      const expected = [{ type: 'function' as const, function: { name, arguments: args } }]
      const [choice] = (await client.chat.completions.create(request)).choices
      expect(choice).toMatchObject({ finish_reason: 'length', message: { content: null, tool_calls: expected } })
      const chunks = await all(await client.chat.completions.create({ ...request, stream: true }))
      const choices = chunks.map(({ choices: [one] }) => one!)
      expect(choices.flatMap(({ delta }) => delta.tool_calls ?? [])).toMatchObject(expected)
      expect(choices.map(({ delta }) => delta.content ?? '').join('')).toBe('')
      expect(choices.at(-1)!.finish_reason).toBe('length')
    }
  })

  it('may be calls or answers that fit a schema', async () => {
    const Person = z.object({ name: z.string(), age: z.int() })
    const request = { model, messages, tools: [clock], response_format: zodResponseFormat(Person, 'person') }
    const both = async (pieces: string[], max_tokens = 10) => {
      script(() => pieces.map((text) => ({ text })))
      const [choice] = (await client.chat.completions.create({ ...request, max_tokens })).choices
      const chunks = await all(await client.chat.completions.create({ ...request, max_tokens, stream: true }))
      const deltas = chunks.map(({ choices: [one] }) => one!.delta)
      const { content, tool_calls: calls } = choice!.message
      expect(deltas.map(({ content: part }) => part ?? '').join('')).toBe(content ?? '')
      expect(deltas.flatMap(({ tool_calls: some }) => some ?? []).map((call) => call.function)).toEqual(
        (calls ?? []).map((call) => 'function' in call && call.function),
      )
      const call = calls?.[0]
      return [content, call && 'function' in call ? call.function : null, choice!.finish_reason, deltas.length]
    }
    const called = { name: 'get_time', arguments: '{"zone": "UTC"}' }
    const whole = ['{"name": "get_', 'time", "arguments": {"zone": "UTC"}}']
    expect(await both(whole)).toEqual([null, called, 'tool_calls', 3])
    const person = '{"name": "Ada", "age": 36}'
    expect(await both(['{"na', 'me": "A', 'da", ', '"age": 36}'])).toEqual([person, null, 'stop', 5])
    const timely = '{"name": "get_time", "age": 36}'
    expect(await both([timely.slice(0, 12), timely.slice(12)])).toEqual([timely, null, 'stop', 3])
    const cut = { name: 'get_time', arguments: '{"zo' }
    expect(await both(['{"name": "get_time", "arguments": {"zo', 'ne'], 1)).toEqual([null, cut, 'length', 3])
    const { schema } = calls()[0]! as { schema: { anyOf: object[] } }
    expect(schema.anyOf).toHaveLength(2)
    expect(schema.anyOf[1]).toMatchObject({ required: ['name', 'age'] })
    await client.chat.completions.create({ ...request, tool_choice: 'none' })
    expect(calls().at(-1)!.schema).toMatchObject({ required: ['name', 'age'] })
  })

  it('fit a schema', async () => {
    const Person = z.object({ name: z.enum(['Ada']), age: z.int().min(36).max(36) })
    const request = { model, messages, response_format: zodResponseFormat(Person, 'person') }
    const parsed = await client.chat.completions.parse(request)
    expect(parsed.choices[0]!.message.parsed).toEqual({ name: 'Ada', age: 36 })
    expect(calls()[0]!.schema).toMatchObject({ type: 'object', required: ['name', 'age'] })
    const streamed = await client.chat.completions.stream(request).finalChatCompletion()
    expect(streamed.choices[0]!.message.parsed).toEqual({ name: 'Ada', age: 36 })
    script(() => [{ text: '{}' }])
    await client.chat.completions.create({ model, messages, response_format: { type: 'json_object' } })
    expect(calls().at(-1)).toMatchObject({ schema: { type: 'object' }, jsonSpacing: 'either' })
  })

  it('take results of tools', async () => {
    const call = { id: 'c1', type: 'function' as const, function: { name: 'get_time', arguments: '{"zone": "UTC"}' } }
    const told = [
      ...messages,
      { role: 'assistant' as const, content: null, tool_calls: [call] },
      { role: 'tool' as const, tool_call_id: 'c1', content: '12:00' },
    ]
    await client.chat.completions.create({ model, messages: told, tools: [clock], max_tokens: 2 })
    expect(calls()[0]!.messages).toEqual(told)
  })

  it('are written by the adapter that the model names', async () => {
    await addRandomAdapter(tiny, 'a', 1)
    const request = { messages, max_tokens: 8, temperature: 0 }
    const [by, base] = await Promise.all(
      ['a', model].map((name) => client.chat.completions.create({ ...request, model: name })),
    )
    expect(by!.model).toBe('a')
    expect(calls()[0]!.adapters).toEqual(['a'])
    expect(by!.choices[0]!.message.content).not.toBe(base!.choices[0]!.message.content)
    const listed = await all(client.models.list())
    expect(listed).toMatchObject([{ id: model }, { id: 'a', parent: model }])
    expect(await client.models.retrieve(model)).toMatchObject({ id: model, object: 'model' })
    tiny.removeAdapter('a')
  })
})

describe('embeddings', () => {
  it('are pooled states, in the form that is asked for', async () => {
    const tokens = (await tiny.tokenizer!.encodeText('Hi')).length
    const answer = await client.embeddings.create({ model, input: ['Hi', 'Hi'] })
    const [{ embedding }] = answer.data as [OpenAI.Embedding]
    expect(answer.data).toEqual([0, 1].map((index) => ({ object: 'embedding', index, embedding })))
    expect(embedding).toHaveLength(tiny.config.hiddenSize)
    expect(Math.hypot(...embedding)).toBeCloseTo(1, 5)
    expect(answer.usage).toEqual({ prompt_tokens: 2 * tokens, total_tokens: 2 * tokens })
    const floats = await client.embeddings.create({ model, input: [1, 2], encoding_format: 'float' })
    expect(floats.usage.prompt_tokens).toBe(2)
    expect(floats.data[0]!.embedding).not.toEqual(embedding)
    const { data } = await client.embeddings.create({ model, input: 'Hi', encoding_format: 'base64' })
    expect(data[0]!.embedding).toBe(Buffer.from(Float32Array.from(embedding).buffer).toString('base64'))
  })
})

describe('errors', () => {
  it('have their status, a sentence, and the parameter', async () => {
    const cases: [() => Promise<unknown>, object][] = [
      [
        () => client.chat.completions.create({ model: 'x', messages }),
        { status: 404, code: 'model_not_found', param: 'model' },
      ],
      [
        () => client.chat.completions.create({ model, messages, temperature: 3 }),
        {
          status: 400,
          param: 'temperature',
          message: '400 Expected a number from 0 to 2 for temperature but received 3.',
        },
      ],
      [
        () => client.chat.completions.create({ model, messages, store: true }),
        { status: 400, param: 'store', code: 'unsupported_parameter' },
      ],
      [
        () => client.completions.create({ model, prompt: 'a', suffix: 'b' }),
        { status: 400, param: 'suffix', code: 'unsupported_parameter' },
      ],
      [
        () =>
          client.completions.create({ model, prompt: 'a', ...{ structured_outputs: { regex: 'a' }, min_tokens: 9 } }),
        {
          status: 400,
          code: 'no-token-left',
          message: expect.stringContaining('forbidden here: by bad_words, no_repeat_ngram_size, min_tokens,'),
        },
      ],
      [() => client.embeddings.create({ model, input: 'a', dimensions: 2 }), { status: 400, param: 'dimensions' }],
    ]
    for (const [ask, error] of cases) await expect(ask()).rejects.toMatchObject(error)
  })

  it('within a stream end it', async () => {
    script(
      () => [{ text: 'Hi' }, { text: ' there' }],
      async (index) => {
        if (index === 1) throw new Error('a secret of the server')
      },
    )
    const stream = await client.chat.completions.create({ model, messages, stream: true })
    const seen: (string | null | undefined)[] = []
    const read = async () => {
      for await (const { choices } of stream) seen.push(choices[0]!.delta.content)
    }
    await expect(read()).rejects.toThrow('The server failed')
    expect(seen).toEqual(['', 'Hi'])
    expect(server.errors.splice(0)).toEqual([new Error('a secret of the server')])
  })
})

describe('clients that leave', () => {
  it('end their text', async () => {
    const request = { model, messages, logit_bias: { [tiny.tokenizer!.eosId!]: -100 } }
    const stream = await client.chat.completions.create({ ...request, stream: true })
    for await (const { choices } of stream) if (choices[0]?.delta.content) break
    const release = hold()
    const leaving = new AbortController()
    const whole = client.chat.completions.create(request, { signal: leaving.signal })
    await vi.waitFor(() => expect(asked).toHaveBeenCalledTimes(2))
    leaving.abort()
    await expect(whole).rejects.toThrow()
    release()
    await expect.poll(() => server.load()).toEqual(IDLE)
  })
})
