/** The `openai` package as a client. */
import OpenAI from 'openai'
import { zodResponseFormat } from 'openai/helpers/zod'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Tokenizer } from '../../lib/data/tokenizer/tokenizer.js'
import { loadChatTokenizer, startFake } from './fake-writer.js'

let tokenizer: Tokenizer
let fake: Awaited<ReturnType<typeof startFake>>
let client: OpenAI
beforeAll(async () => {
  tokenizer = await loadChatTokenizer()
})
beforeEach(async () => {
  fake = await startFake(tokenizer)
  client = new OpenAI({ baseURL: `${fake.origin}/v1`, apiKey: 'none', maxRetries: 0 })
})
afterEach(async () => {
  await fake.close()
  expect(fake.writer.usage.running).toBe(0)
  expect(fake.errors).toEqual([])
})

const model = 'org/tiny'
const messages = [{ role: 'user' as const, content: 'Say hi.' }]
const clock = {
  type: 'function' as const,
  function: {
    name: 'get_time',
    description: 'The time.',
    parameters: { type: 'object', properties: { zone: { type: 'string' } }, required: ['zone'] },
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
    expect(answer).toMatchObject({
      object: 'text_completion',
      model,
      choices: [{ index: 0, text: 'Hi there', finish_reason: 'stop', logprobs: null }],
      usage: { completion_tokens: 2 },
    })
    expect(answer.usage!.total_tokens).toBe(answer.usage!.prompt_tokens + 2)
    expect(fake.writer.calls).toMatchObject([{ prompt: 'Once', raw: true, maxNewTokens: 8, seed: 3, adapters: [] }])
  })

  it('of several prompts have n texts each, in order', async () => {
    fake.writer.say = ({ prompt, sample }) => ({ pieces: [{ text: `${JSON.stringify(prompt)}${sample}` }] })
    const { choices, usage } = await client.completions.create({
      model,
      prompt: [
        [1, 5],
        [1, 6, 7],
      ],
      n: 2,
    })
    expect(choices.map(({ index, text }) => [index, text])).toEqual([
      [0, '[1,5]0'],
      [1, '[1,5]1'],
      [2, '[1,6,7]0'],
      [3, '[1,6,7]1'],
    ])
    expect(usage).toEqual({ prompt_tokens: 5, completion_tokens: 4, total_tokens: 9 })
    const seeds = new Set(fake.writer.calls.map(({ seed }) => seed))
    expect(seeds.size).toBe(1)
  })

  it('have log-probabilities, of the prompt too', async () => {
    const ids = await tokenizer.encodeText('Hi')
    const request = { model, prompt: 'Hi', echo: true, logprobs: 2, max_tokens: 1, temperature: 0 }
    const [choice] = (await client.completions.create(request)).choices
    expect(choice).toMatchObject({ text: 'HiHi', finish_reason: 'length' })
    const { tokens, token_logprobs, top_logprobs, text_offset } = choice!.logprobs!
    expect(tokens).toHaveLength(ids.length + 1)
    expect(token_logprobs).toEqual([null, ...ids.slice(1).map(() => -0.5), -0.25])
    expect(top_logprobs!.at(-1)).toEqual({ Hi: -0.25, '!': -1, ' ': -2 })
    expect(text_offset!.at(-1)).toBe(tokens!.slice(0, -1).join('').length)
    const none = await client.completions.create({ ...request, max_tokens: 0 })
    expect(none.choices[0]).toMatchObject({ text: 'Hi', finish_reason: 'length' })
    expect(none.choices[0]!.logprobs!.tokens).toHaveLength(ids.length)
  })

  it('stream, with usage last', async () => {
    const stream = await client.completions.create({
      model,
      prompt: 'Once',
      stream: true,
      echo: true,
      stream_options: { include_usage: true },
    })
    const chunks = await all(stream)
    expect(chunks.map(({ choices: [choice] }) => choice?.text)).toEqual(['OnceHi', ' there', '', undefined])
    expect(chunks.map(({ choices: [choice] }) => choice?.finish_reason)).toEqual([null, null, 'stop', undefined])
    expect(chunks.map(({ usage }) => usage?.completion_tokens)).toEqual([undefined, undefined, undefined, 2])
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
        message: { role: 'assistant', content: 'Hi there' },
        logprobs: null,
        finish_reason: 'stop',
      })),
    })
    expect(answer.choices[0]!.message.tool_calls).toBeUndefined()
    expect(fake.writer.calls[1]).toMatchObject({
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
    fake.writer.say = ({ sample }) => ({ pieces: [{ text: `${sample}` }, { text: 'x' }] })
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
    const request = { model, messages, stream: true, stream_options: { include_usage: true } } as const
    const response = await fake.post('/v1/chat/completions', request)
    const lines = (await response.text()).trim().split('\n\n')
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
    expect(lines.at(-1)).toBe('data: [DONE]')
    expect(JSON.parse(lines.at(-2)!.slice(6))).toMatchObject({ choices: [], usage: { completion_tokens: 2 } })
    expect(JSON.parse(lines[0]!.slice(6))).toMatchObject({ usage: null })
  })

  it('have log-probabilities with bytes', async () => {
    fake.writer.say = () => ({ pieces: [{ text: 'é' }, { text: '\ufffd' }] })
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

  const calls = [
    { id: 'c1', name: 'get_time', argumentsText: '{"zone": "UTC"}' },
    { name: 'get_time', argumentsText: '{"zone": "CET"}' },
  ]

  it('call tools', async () => {
    fake.writer.say = () => ({
      pieces: [{ reasoning: 'Hm.' }, { text: 'Look: ' }, { toolCalls: [calls[0]!] }, { toolCalls: [calls[1]!] }],
    })
    const request = { model, messages, tools: [clock] }
    const [choice] = (await client.chat.completions.create(request)).choices
    expect(choice).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        content: 'Look: ',
        reasoning_content: 'Hm.',
        tool_calls: [
          { id: 'c1', type: 'function', function: { name: 'get_time', arguments: '{"zone": "UTC"}' } },
          { id: expect.stringMatching(/^call_/), type: 'function', function: { arguments: '{"zone": "CET"}' } },
        ],
      },
    })
    expect(fake.writer.calls[0]!.tools).toEqual([clock])
    const streamed = await client.chat.completions.stream(request).finalChatCompletion()
    expect(
      streamed.choices[0]!.message.tool_calls!.map((call) => 'function' in call && call.function.arguments),
    ).toEqual(calls.map(({ argumentsText }) => argumentsText))
    expect(streamed.choices[0]!.finish_reason).toBe('tool_calls')
    const one = await client.chat.completions.create({ ...request, parallel_tool_calls: false })
    expect(one.choices[0]!.message.tool_calls).toHaveLength(1)
    await client.chat.completions.create({ ...request, tool_choice: 'none' })
    expect(fake.writer.calls.at(-1)!.tools).toBeUndefined()
  })

  it('call the function that was chosen, or some function, by a schema', async () => {
    const request = { model, messages, tools: [clock] }
    fake.writer.say = () => ({ pieces: [{ text: '{"zone":' }, { text: ' "UTC"}' }] })
    const named = { ...request, tool_choice: { type: 'function' as const, function: { name: 'get_time' } } }
    const expected = [{ type: 'function', function: { name: 'get_time', arguments: '{"zone": "UTC"}' } }]
    const [choice] = (await client.chat.completions.create(named)).choices
    expect(choice).toMatchObject({ finish_reason: 'stop', message: { content: null, tool_calls: expected } })
    expect(fake.writer.calls[0]!.schema).toEqual(clock.function.parameters)
    const stream = await client.chat.completions.stream(named).finalChatCompletion()
    expect(stream.choices[0]!.message).toMatchObject({ tool_calls: expected })

    fake.writer.say = () => ({ pieces: [{ text: '{"name": "get_time", "arg' }, { text: 'uments": {"zone": "UTC"}}' }] })
    const required = { ...request, tool_choice: 'required' as const }
    const some = [{ type: 'function', function: { name: 'get_time', arguments: '{"zone":"UTC"}' } }]
    const [any] = (await client.chat.completions.create(required)).choices
    expect(any).toMatchObject({ finish_reason: 'tool_calls', message: { content: null, tool_calls: some } })
    const later = await client.chat.completions.stream(required).finalChatCompletion()
    expect(later.choices[0]!.message).toMatchObject({ tool_calls: some })
  })

  it('are calls also where a limit cuts them', async () => {
    const request = { model, messages, tools: [clock], tool_choice: 'required' as const, max_tokens: 1 }
    const parts: [string, string, string][] = [
      ['{"name": "get_time", "arguments": {"zo', 'get_time', '{"zo'],
      ['{"name":"get_time","arguments":{"zone":"a"}', 'get_time', '{"zone":"a"}'],
      ['{"name": "get_time", "argu', 'get_time', ''],
      ['{"name": "get_', 'get_', ''],
      ['{', '', ''],
    ]
    for (const [text, name, args] of parts) {
      fake.writer.say = () => ({ pieces: [{ text }, { text: 'never' }] })
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
      fake.writer.say = () => ({ pieces: pieces.map((text) => ({ text })) })
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
    const called = { name: 'get_time', arguments: '{"zone":"UTC"}' }
    expect(await both(['{"name": "get_', 'time", "arguments": {"zone": "UTC"}}'])).toEqual([
      null,
      called,
      'tool_calls',
      3,
    ])
    const person = '{"name": "Ada", "age": 36}'
    expect(await both(['{"na', 'me": "A', 'da", ', '"age": 36}'])).toEqual([person, null, 'stop', 5])
    const timely = '{"name": "get_time", "age": 36}'
    expect(await both([timely.slice(0, 12), timely.slice(12)])).toEqual([timely, null, 'stop', 3])
    const cut = { name: 'get_time', arguments: '{"zo' }
    expect(await both(['{"name": "get_time", "arguments": {"zo', 'ne'], 1)).toEqual([null, cut, 'length', 3])
    const { schema } = fake.writer.calls[0]! as { schema: { anyOf: object[] } }
    expect(schema.anyOf).toHaveLength(2)
    expect(schema.anyOf[1]).toMatchObject({ required: ['name', 'age'] })
    await client.chat.completions.create({ ...request, tool_choice: 'none' })
    expect(fake.writer.calls.at(-1)!.schema).toMatchObject({ required: ['name', 'age'] })
  })

  it('fit a schema', async () => {
    fake.writer.say = () => ({ pieces: [{ text: '{"name": "Ada", ' }, { text: '"age": 36}' }] })
    const Person = z.object({ name: z.string(), age: z.int() })
    const request = { model, messages, response_format: zodResponseFormat(Person, 'person') }
    const parsed = await client.chat.completions.parse(request)
    expect(parsed.choices[0]!.message.parsed).toEqual({ name: 'Ada', age: 36 })
    expect(fake.writer.calls[0]!.schema).toMatchObject({ type: 'object', required: ['name', 'age'] })
    const streamed = await client.chat.completions.stream(request).finalChatCompletion()
    expect(streamed.choices[0]!.message.parsed).toEqual({ name: 'Ada', age: 36 })
    await client.chat.completions.create({ model, messages, response_format: { type: 'json_object' } })
    expect(fake.writer.calls.at(-1)).toMatchObject({ schema: { type: 'object' }, jsonSpacing: 'either' })
  })

  it('take results of tools', async () => {
    const call = { id: 'c1', type: 'function' as const, function: { name: 'get_time', arguments: '{"zone": "UTC"}' } }
    const told = [
      ...messages,
      { role: 'assistant' as const, content: null, tool_calls: [call] },
      { role: 'tool' as const, tool_call_id: 'c1', content: '12:00' },
    ]
    await client.chat.completions.create({ model, messages: told, tools: [clock] })
    expect(fake.writer.calls[0]!.messages).toEqual(told)
  })

  it('are written by the adapter that the model names', async () => {
    fake.writer.model.adapters.set('a', 'somewhere')
    const { model: name } = await client.chat.completions.create({ model: 'a', messages })
    expect(name).toBe('a')
    expect(fake.writer.calls[0]!.adapters).toEqual(['a'])
    const listed = await all(client.models.list())
    expect(listed).toMatchObject([{ id: model }, { id: 'a', parent: model }])
    expect(await client.models.retrieve(model)).toMatchObject({ id: model, object: 'model' })
  })
})

describe('embeddings', () => {
  it('are pooled states, in the form that is asked for', async () => {
    const tokens = (await tokenizer.encodeText('Hi')).length
    const expected = [...Float32Array.of(tokens, -1.5, 3, 1e-7)]
    const answer = await client.embeddings.create({ model, input: ['Hi', 'Hi'] })
    expect(answer.data).toEqual([0, 1].map((index) => ({ object: 'embedding', index, embedding: expected })))
    expect(answer.usage).toEqual({ prompt_tokens: 2 * tokens, total_tokens: 2 * tokens })
    const floats = await client.embeddings.create({ model, input: [1, 2], encoding_format: 'float' })
    expect(floats.data[0]!.embedding).toEqual([...Float32Array.of(2, -1.5, 3, 1e-7)])
    const { data } = await client.embeddings.create({ model, input: 'Hi', encoding_format: 'base64' })
    expect(data[0]!.embedding).toBe(Buffer.from(Float32Array.from(expected).buffer).toString('base64'))
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
      [() => client.embeddings.create({ model, input: 'a', dimensions: 2 }), { status: 400, param: 'dimensions' }],
    ]
    for (const [ask, error] of cases) await expect(ask()).rejects.toMatchObject(error)
  })

  it('within a stream end it', async () => {
    fake.writer.step = async (_, index) => {
      if (index === 1) throw new Error('a secret of the server')
    }
    const stream = await client.chat.completions.create({ model, messages, stream: true })
    const seen: (string | null | undefined)[] = []
    const read = async () => {
      for await (const { choices } of stream) seen.push(choices[0]!.delta.content)
    }
    await expect(read()).rejects.toThrow('The server failed')
    expect(seen).toEqual(['', 'Hi'])
    expect(fake.errors.splice(0)).toEqual([new Error('a secret of the server')])
  })
})

describe('clients that leave', () => {
  it('end their text', async () => {
    fake.writer.step = () => new Promise((resolve) => setTimeout(resolve, 5))
    fake.writer.say = () => ({ pieces: Array.from({ length: 1000 }, () => ({ text: 'x' })) })
    const stream = await client.chat.completions.create({ model, messages, stream: true })
    for await (const { choices } of stream) if (choices[0]?.delta.content === 'x') break
    const leaving = new AbortController()
    const whole = client.chat.completions.create({ model, messages }, { signal: leaving.signal })
    await new Promise((resolve) => setTimeout(resolve, 20))
    leaving.abort()
    await expect(whole).rejects.toThrow()
    await expect.poll(() => fake.writer.usage.running).toBe(0)
  })
})
