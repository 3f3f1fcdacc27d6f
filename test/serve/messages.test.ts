/** `/v1/messages`: its wire format, and `@anthropic-ai/sdk` as a client. */
import Anthropic from '@anthropic-ai/sdk'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import type { Model } from '../../lib/models/index.js'
import { NAME as model, script, startServer, tinyModel, watchTexts } from './tiny-server.js'

let tiny: Model
let server: Awaited<ReturnType<typeof startServer>>
let client: Anthropic
const asked = watchTexts()
beforeAll(async () => {
  tiny = await tinyModel()
  server = await startServer(tiny, { apiKeys: ['sk-test'] })
  client = new Anthropic({ baseURL: server.origin, apiKey: 'sk-test', maxRetries: 0 })
})
afterEach(() => expect(server.errors).toEqual([]))
afterAll(async () => {
  await server.close()
  tiny.dispose()
})

const ask = (body: object, path = '/v1/messages') =>
  server.post(path, { model, max_tokens: 20, messages, ...body }, { headers: { 'x-api-key': 'sk-test' } })

const messages = [{ role: 'user' as const, content: 'When?' }]
const schema = { type: 'object' as const, properties: { zone: { enum: ['UTC'] } }, required: ['zone'] }
const clock = { name: 'get_time', description: 'The time.', input_schema: schema }
const call = { id: 'call_1', name: 'get_time', arguments: { zone: 'UTC' }, argumentsText: '{"zone":"UTC"}' }
const chosen = { model, max_tokens: 20, messages }

it('is streamed in the events of Anthropic, in their order', async () => {
  script(() => [{ reasoning: 'Hm' }, { text: 'H' }, { text: 'i' }, { toolCalls: [call] }])
  const response = await ask({ tools: [clock], stream: true })
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
  const none = '"cache_creation_input_tokens":0,"cache_read_input_tokens":0'
  const prompt = `"usage":{"input_tokens":1,${none}`
  const usage = `${prompt},"output_tokens":4,"output_tokens_details":{"thinking_tokens":1}}`
  const head = '"id":"msg","type":"message","role":"assistant","model":"org/tiny","content":'
  const expected = [
    ['message_start', `"message":{${head}[],"stop_reason":null,"stop_sequence":null,${prompt},"output_tokens":0}}`],
    ['content_block_start', '"index":0,"content_block":{"type":"thinking","thinking":"","signature":""}'],
    ['content_block_delta', '"index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}'],
    ['content_block_stop', '"index":0'],
    ['content_block_start', '"index":1,"content_block":{"type":"text","text":""}'],
    ['content_block_delta', '"index":1,"delta":{"type":"text_delta","text":"H"}'],
    ['content_block_delta', '"index":1,"delta":{"type":"text_delta","text":"i"}'],
    ['content_block_stop', '"index":1'],
    ['content_block_start', '"index":2,"content_block":{"type":"tool_use","id":"call_1","name":"get_time","input":{}}'],
    ['content_block_delta', '"index":2,"delta":{"type":"input_json_delta","partial_json":"{\\"zone\\":\\"UTC\\"}"}'],
    ['content_block_stop', '"index":2'],
    ['message_delta', `"delta":{"stop_reason":"tool_use","stop_sequence":null},${usage}`],
    ['message_stop', ''],
  ].map(([type, rest]) => `event: ${type}\ndata: {"type":"${type}"${rest && ','}${rest}}`)
  const fixed = (text: string) => text.replace(/msg_[0-9a-f]{32}/g, 'msg')
  expect(
    fixed(await response.text())
      .trim()
      .split('\n\n'),
  ).toEqual(expected)
  const whole = await (await ask({ tools: [clock] })).json()
  expect(whole).toMatchObject({
    type: 'message',
    content: [
      { type: 'thinking', thinking: 'Hm', signature: '' },
      { type: 'text', text: 'Hi' },
      { type: 'tool_use', id: 'call_1', name: 'get_time', input: { zone: 'UTC' } },
    ],
    stop_reason: 'tool_use',
    usage: { input_tokens: 1, output_tokens: 4 },
  })
})

it('is whole and streamed alike for its client', async () => {
  const body = { ...chosen, max_tokens: 8, seed: 1, ignore_eos: true }
  const whole = await client.messages.create(body)
  const streamed = await client.messages.stream(body).finalMessage()
  expect(whole).toMatchObject({ stop_reason: 'max_tokens', usage: { output_tokens: 8 } })
  expect(streamed.content).toEqual(whole.content)
  const tokens = (message: Anthropic.Message) => message.usage.input_tokens + message.usage.cache_read_input_tokens!
  expect(tokens(streamed)).toBe(tokens(whole))
  const counted = await client.messages.countTokens({ model, messages })
  expect(counted).toEqual({ input_tokens: tokens(whole) })
  const more = await client.messages.countTokens({ model, messages, system: 'Be brief.', tools: [clock] })
  expect(more.input_tokens).toBeGreaterThan(counted.input_tokens)
})

it('begins with the tokens of its prompt, and those from the prefix cache', async () => {
  const body = {
    ...chosen,
    max_tokens: 2,
    ignore_eos: true,
    messages: [{ role: 'user' as const, content: 'When? '.repeat(60) }],
  }
  const { input_tokens: tokens } = await client.messages.countTokens({ model, messages: body.messages })
  const begins: Anthropic.Usage[] = []
  for (let i = 0; i < 2; i++) {
    const stream = client.messages.stream(body)
    stream.on('streamEvent', (event) => event.type === 'message_start' && begins.push({ ...event.message.usage }))
    const { usage } = await stream.finalMessage()
    expect(usage).toMatchObject({ ...begins[i], output_tokens: 2 })
  }
  const cached = tokens - (tokens % 64)
  expect(cached).toBeGreaterThan(0)
  expect(begins).toMatchObject([
    { input_tokens: tokens, cache_read_input_tokens: 0, output_tokens: 0 },
    { input_tokens: tokens - cached, cache_read_input_tokens: cached, output_tokens: 0 },
  ])
})

it('continues the last message of the assistant', async () => {
  const messages: Anthropic.MessageParam[] = [
    { role: 'user', content: 'Count.' },
    { role: 'assistant', content: 'One, two,' },
  ]
  const structured_outputs = { regex: ' three' }
  const request = { ...chosen, messages, max_tokens: 20, structured_outputs }
  expect((await client.messages.create(request)).content).toMatchObject([{ type: 'text', text: ' three' }])
  expect(asked.mock.lastCall![0]).toMatchObject({ messages, continueFinalMessage: true })
  const streamed = await client.messages.stream(request).finalMessage()
  expect(streamed.content).toMatchObject([{ type: 'text', text: ' three' }])
  const counts = [messages, messages.slice(0, 1), [messages[0]!, { role: 'assistant' as const, content: '' }]].map(
    async (some) => (await client.messages.countTokens({ model, messages: some })).input_tokens,
  )
  const [begun, open, empty] = await Promise.all(counts)
  expect([begun! > open!, empty]).toEqual([true, open])
})

it('is told as messages: the system, texts, calls and their results', async () => {
  script(() => [{ text: 'Noon.' }])
  await client.messages.create({
    ...chosen,
    system: [
      { type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } },
      { type: 'text', text: 'Be kind.' },
    ],
    messages: [
      { role: 'user', content: [{ type: 'text', text: 'a' }] },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'Hm', signature: '' },
          { type: 'redacted_thinking', data: 'x' },
          { type: 'tool_use', id: 'c', name: 'get_time', input: { zone: 'UTC' } },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'c', content: [{ type: 'text', text: '12:00' }] },
          { type: 'text', text: 'b' },
          { type: 'text', text: 'c' },
        ],
      },
    ],
    tools: [clock],
    tool_choice: { type: 'tool', name: 'get_time' },
    thinking: { type: 'enabled', budget_tokens: 1024 },
    output_config: { effort: 'low' },
    stop_sequences: ['END'],
    temperature: 0.5,
    top_k: 3,
  } as Anthropic.MessageCreateParamsNonStreaming)
  expect(asked.mock.lastCall![0]).toMatchObject({
    messages: [
      { role: 'system', content: 'Be brief.\nBe kind.' },
      { role: 'user', content: 'a' },
      {
        role: 'assistant',
        content: null,
        reasoning_content: 'Hm',
        tool_calls: [{ id: 'c', type: 'function', function: { name: 'get_time', arguments: '{"zone":"UTC"}' } }],
      },
      { role: 'tool', tool_call_id: 'c', content: '12:00' },
      { role: 'user', content: ['b', 'c'].map((text) => ({ type: 'text', text })) },
    ],
    tools: [{ type: 'function', function: { name: 'get_time', description: 'The time.', parameters: schema } }],
    schema,
    templateOptions: { enable_thinking: true, reasoning_effort: 'low' },
    stop: ['END'],
    maxNewTokens: 20,
    temperature: 0.5,
    topK: 3,
  })
})

it('says what ended it', async () => {
  const text = 'One END two'
  const structured_outputs = { regex: text }
  const stopped = await ask({ stop_sequences: ['END'], structured_outputs })
  expect(await stopped.json()).toMatchObject({
    content: [{ type: 'text', text: 'One ' }],
    stop_reason: 'stop_sequence',
    stop_sequence: 'END',
  })
  expect(await (await ask({ structured_outputs })).json()).toMatchObject({
    stop_reason: 'end_turn',
    stop_sequence: null,
  })
  const forced = await client.messages.create({
    ...chosen,
    max_tokens: 100,
    tools: [clock],
    tool_choice: { type: 'any', disable_parallel_tool_use: true },
  })
  expect(forced).toMatchObject({ stop_reason: 'tool_use', content: [{ type: 'tool_use', input: { zone: 'UTC' } }] })
  const { name, argumentsText } = call
  script(() => [
    { text: `[{"name": "${name}", "arguments": ${argumentsText}},` },
    { text: `{"name": "${name}", "arguments": {}}]` },
  ])
  const several = client.messages.stream({ ...chosen, max_tokens: 100, tools: [clock], tool_choice: { type: 'any' } })
  expect(await several.finalMessage()).toMatchObject({
    stop_reason: 'tool_use',
    content: [
      { type: 'tool_use', input: { zone: 'UTC' } },
      { type: 'tool_use', input: {} },
    ],
  })
  script(() => [{ toolCalls: [call, { ...call, id: 'call_2' }] }])
  const tool_choice = { type: 'auto' as const, disable_parallel_tool_use: true }
  expect((await client.messages.create({ ...chosen, tools: [clock], tool_choice })).content).toHaveLength(1)
  script(() => [{ text: '{"zo' }, { text: 'never' }])
  const cut = await ask({ max_tokens: 1, tools: [clock], tool_choice: { type: 'tool', name: 'get_time' } })
  expect(await cut.json()).toMatchObject({ stop_reason: 'max_tokens', content: [{ type: 'tool_use', input: {} }] })
})

it('fails in the form of Anthropic', async () => {
  await expect(client.messages.create({ ...chosen, model: 'x' })).rejects.toBeInstanceOf(Anthropic.NotFoundError)
  const stranger = new Anthropic({ baseURL: server.origin, apiKey: 'other', maxRetries: 0 })
  await expect(stranger.messages.create(chosen)).rejects.toMatchObject({
    status: 401,
    error: { type: 'error', error: { type: 'authentication_error', message: 'The API key is wrong.' } },
  })
  script(
    () => [{ text: 'Hi' }, { text: 'never' }],
    async (index) => {
      if (index === 1) throw new Error('broken')
    },
  )
  const events = (await (await ask({ stream: true })).text()).trim().split('\n\n')
  const message = 'The server failed; its log says why.'
  expect(events.at(-1)).toBe(`event: error\ndata: {"type":"error","error":{"type":"api_error","message":"${message}"}}`)
  expect(server.errors.splice(0)).toMatchObject([{ message: 'broken' }])
  const lost = await server.post('/v1/messages/batches', {}, { headers: { 'x-api-key': 'sk-test' } })
  expect([lost.status, await lost.json()]).toMatchObject([404, { type: 'error', error: { type: 'not_found_error' } }])
})

it.each([
  [{ max_tokens: undefined }, 'max_tokens'],
  [{ messages: [{ role: 'user', content: [{ type: 'image' }] }] }, 'one of text, thinking'],
  [
    { messages: [...messages, { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'f', input: {} }] }] },
    'content[0].type but received "tool_use"',
  ],
  [{ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, '"web_search_20250305"'],
  [{ tool_choice: { type: 'all' } }, 'one of auto, any, tool, none for tool_choice.type'],
  [{ tool_choice: { type: 'any' } }, 'needs tools'],
  [{ thinking: { type: 'always' } }, 'one of enabled, adaptive, disabled for thinking.type'],
  [{ stop: 'a' }, 'The parameter stop is not supported: use stop_sequences.'],
  [{ mcp_servers: [{}] }, 'mcp_servers'],
  [{ n: 2 }, 'ask once for each'],
])('refuses %j by name', async (body, message) => {
  const response = await ask(body)
  expect(response.status).toBe(400)
  expect(await response.json()).toEqual({
    type: 'error',
    error: { type: 'invalid_request_error', message: expect.stringContaining(message) },
  })
})
