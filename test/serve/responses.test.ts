/** `/v1/responses`: its wire format, and the `openai` package and the AI SDK's default provider as clients. */
import { createOpenAI } from '@ai-sdk/openai'
import { generateText, stepCountIs, tool } from 'ai'
import OpenAI from 'openai'
import { zodTextFormat } from 'openai/helpers/zod'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import type { Model } from '../../lib/models/index.js'
import { StoredItems } from '../../lib/serve/stored-items.js'
import { IDLE, NAME as model, script, startServer, tinyModel, watchTexts } from './tiny-server.js'

let tiny: Model
let server: Awaited<ReturnType<typeof startServer>>
let client: OpenAI
const asked = watchTexts()
const apiKeys = { ann: 'sk-a', bob: 'sk-b' }
beforeAll(async () => {
  tiny = await tinyModel()
  server = await startServer(tiny, { apiKeys })
  client = new OpenAI({ baseURL: `${server.origin}/v1`, apiKey: apiKeys.ann, maxRetries: 0 })
})
afterEach(() => expect(server.errors).toEqual([]))
afterAll(async () => {
  await server.close()
  tiny.dispose()
})

const ask = (body: object, key = apiKeys.ann) =>
  server.post('/v1/responses', { model, ...body }, { headers: { authorization: `Bearer ${key}` } })

const parameters = { type: 'object', properties: { zone: { enum: ['UTC'] } }, required: ['zone'] }
const clock = { type: 'function' as const, name: 'get_time', description: 'The time.', parameters, strict: true }
const call = { id: 'call_1', name: 'get_time', arguments: { zone: 'UTC' }, argumentsText: '{"zone":"UTC"}' }

/** Replaces random ids by their prefixes, and times by 0. */
const fixed = (text: string) => text.replace(/(resp|msg|rs|fc)_[0-9a-f]{32}/g, '$1').replace(/(_at":)\d+/g, '$10')

it('is streamed in the events of OpenAI, in their order', async () => {
  script(() => [{ reasoning: 'Hm' }, { text: 'Hi' }, { toolCalls: [call] }])
  const response = await ask({ input: 'When?', tools: [clock], stream: true, metadata: { a: 'b' } })
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
  const events = fixed(await response.text())
    .trim()
    .split('\n\n')
  const head =
    '"id":"resp","object":"response","created_at":0,"status":"STATUS","background":false,"completed_at":TIME,"error":null,' +
    '"incomplete_details":null,"instructions":null,"max_output_tokens":null,"metadata":{"a":"b"},"model":"org/tiny","output":'
  const tail =
    ',"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"service_tier":"default",' +
    '"store":true,"temperature":1,"text":{"format":{"type":"text"}},"tool_choice":"auto",' +
    `"tools":[${JSON.stringify(clock)}],"top_logprobs":0,"top_p":1,"truncation":"disabled"`
  const begun = `{${head.replace('STATUS', 'in_progress').replace('TIME', 'null')}[]${tail}}`
  const thought =
    '{"id":"rs","type":"reasoning","status":"completed","summary":[],"content":[{"type":"reasoning_text","text":"Hm"}]}'
  const part = '{"type":"output_text","text":"Hi","annotations":[],"logprobs":[]}'
  const said = `{"id":"msg","type":"message","status":"completed","role":"assistant","content":[${part}]}`
  const args = JSON.stringify(call.argumentsText)
  const called = `{"id":"fc","type":"function_call","status":"completed","call_id":"call_1","name":"get_time","arguments":${args}}`
  const usage =
    '"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":3,' +
    '"output_tokens_details":{"reasoning_tokens":1},"total_tokens":4}'
  const done = `{${head.replace('STATUS', 'completed').replace('TIME', '0')}[${thought},${said},${called}]${tail},${usage}}`
  const rs = '"item_id":"rs","output_index":0,"content_index":0'
  const msg = '"item_id":"msg","output_index":1,"content_index":0'
  const expected = [
    ['created', `"response":${begun}`],
    ['in_progress', `"response":${begun}`],
    [
      'output_item.added',
      '"output_index":0,"item":{"id":"rs","type":"reasoning","status":"in_progress","summary":[],"content":[]}',
    ],
    ['content_part.added', `${rs},"part":{"type":"reasoning_text","text":""}`],
    ['reasoning_text.delta', `${rs},"delta":"Hm"`],
    ['reasoning_text.done', `${rs},"text":"Hm"`],
    ['content_part.done', `${rs},"part":{"type":"reasoning_text","text":"Hm"}`],
    ['output_item.done', `"output_index":0,"item":${thought}`],
    [
      'output_item.added',
      '"output_index":1,"item":{"id":"msg","type":"message","status":"in_progress","role":"assistant","content":[]}',
    ],
    ['content_part.added', `${msg},"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}`],
    ['output_text.delta', `${msg},"delta":"Hi","logprobs":[]`],
    ['output_text.done', `${msg},"text":"Hi","logprobs":[]`],
    ['content_part.done', `${msg},"part":${part}`],
    ['output_item.done', `"output_index":1,"item":${said}`],
    ['output_item.added', `"output_index":2,"item":${called.replace('completed', 'in_progress').replace(args, '""')}`],
    ['function_call_arguments.delta', `"item_id":"fc","output_index":2,"delta":${args}`],
    ['function_call_arguments.done', `"item_id":"fc","output_index":2,"name":"get_time","arguments":${args}`],
    ['output_item.done', `"output_index":2,"item":${called}`],
    ['completed', `"response":${done}`],
  ].map(
    ([type, rest], i) => `event: response.${type}\ndata: {"type":"response.${type}","sequence_number":${i},${rest}}`,
  )
  expect(events).toEqual(expected)
  const whole = await ask({ input: 'When?', tools: [clock], metadata: { a: 'b' } })
  expect(fixed(await whole.text())).toBe(done)
})

it('has functions in namespaces, which the model calls by both names', async () => {
  script(() => [{ toolCalls: [{ ...call, name: 'clocks.get_time' }] }])
  const clocks = { type: 'namespace' as const, name: 'clocks', description: 'Clocks.', tools: [clock] }
  const input = [
    { role: 'user' as const, content: 'When?' },
    {
      type: 'function_call' as const,
      call_id: 'a',
      name: 'get_time',
      namespace: 'clocks',
      arguments: '{"zone":"UTC"}',
    },
    { type: 'function_call_output' as const, call_id: 'a', output: '12:00' },
  ]
  const { output, tools } = await client.responses.create({ model, input, tools: [clocks] })
  expect(output).toMatchObject([{ type: 'function_call', name: 'get_time', namespace: 'clocks' }])
  expect(tools).toEqual([clocks])
  const { messages, tools: told } = asked.mock.lastCall![0]
  expect(messages![1]).toMatchObject({ tool_calls: [{ function: { name: 'clocks.get_time' } }] })
  const description = 'Clocks.\nThe time.'
  expect(told).toEqual([{ type: 'function', function: { name: 'clocks.get_time', description, parameters } }])
  const wrong = await ask({ input: 'a', tools: [{ ...clocks, tools: [{ type: 'custom', name: 'a' }] }] })
  expect([wrong.status, await wrong.text()]).toEqual([400, expect.stringContaining('tools[0].tools[0].type')])
})

it('calls the functions that are allowed, several if need be', async () => {
  const other = { ...clock, name: 'other' }
  const tools = [{ type: 'function' as const, name: 'other' }]
  const request = { model, input: 'When?', tools: [clock, other] }
  const called = '{"name": "other", "arguments": {"zone": "UTC"}}'
  script(() => [{ text: `[${called}, ` }, { text: `${called}]` }])
  const stream = client.responses.stream({
    ...request,
    tool_choice: { type: 'allowed_tools', mode: 'required', tools },
  })
  const item = { type: 'function_call', status: 'completed', name: 'other', arguments: '{"zone": "UTC"}' }
  expect((await stream.finalResponse()).output).toMatchObject([item, item])
  expect(asked.mock.lastCall![0].tools).toMatchObject([{ function: { name: 'other' } }])
})

it('summarises reasoning, and returns it encrypted, where that is asked for', async () => {
  script(() => [{ reasoning: 'Hm' }, { text: 'Hi' }])
  const include = ['reasoning.encrypted_content', 'message.output_text.logprobs'] as const
  const request = { model, input: 'a', reasoning: { summary: 'auto' as const }, include: [...include], top_logprobs: 1 }
  const { output } = await client.responses.create(request)
  expect(output).toMatchObject([
    { type: 'reasoning', summary: [{ type: 'summary_text', text: 'Hm' }], encrypted_content: 'mora:SG0=' },
    {
      content: [
        { text: 'Hi', logprobs: [{ token: 'Hi', logprob: -0.25, top_logprobs: [{ token: '!', logprob: -1 }] }] },
      ],
    },
  ])
  const streamed = await client.responses.stream(request).finalResponse()
  expect(streamed.output[1]).toMatchObject({ content: [{ text: 'Hi', logprobs: [{ token: 'Hi' }] }] })
  expect((await ask({ input: [...output, { role: 'user', content: 'b' }] })).status).toBe(200)
  expect(asked.mock.lastCall![0].messages).toEqual([
    { role: 'assistant', content: 'Hi', reasoning_content: 'Hm' },
    { role: 'user', content: 'b' },
  ])
})

it('is told as messages: instructions, texts, calls and their results', async () => {
  script(() => [{ text: 'Noon.' }])
  await client.responses.create({
    model,
    instructions: 'Be brief.',
    input: [
      { role: 'user', content: [{ type: 'input_text', text: 'a' }] },
      { type: 'reasoning', id: 'rs_1', summary: [], content: [{ type: 'reasoning_text', text: 'Hm' }] },
      { type: 'function_call', call_id: 'c', name: 'get_time', arguments: '{}' },
      { type: 'function_call_output', call_id: 'c', output: '12:00' },
      { role: 'assistant', content: 'Noon.' },
      { role: 'user', content: 'b' },
    ],
    tools: [clock],
    tool_choice: { type: 'function', name: 'get_time' },
    reasoning: { effort: 'low' },
    max_output_tokens: 16,
    temperature: 0.5,
  })
  expect(asked.mock.lastCall![0]).toMatchObject({
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'a' },
      {
        role: 'assistant',
        content: null,
        reasoning_content: 'Hm',
        tool_calls: [{ id: 'c', function: { name: 'get_time' } }],
      },
      { role: 'tool', tool_call_id: 'c', name: 'get_time', content: '12:00' },
      { role: 'assistant', content: 'Noon.' },
      { role: 'user', content: 'b' },
    ],
    tools: [{ type: 'function', function: { name: 'get_time', description: 'The time.', parameters } }],
    schema: parameters,
    templateOptions: { reasoning_effort: 'low' },
    maxNewTokens: 16,
    temperature: 0.5,
  })
})

it('fits a schema, and is incomplete where a limit cuts it', async () => {
  const Person = z.object({ name: z.enum(['Ada']), age: z.int().min(36).max(36) })
  const text = { format: zodTextFormat(Person, 'person') }
  expect((await client.responses.parse({ model, input: 'Who?', text })).output_parsed).toEqual({ name: 'Ada', age: 36 })
  const cut = { model, input: 'Who?', max_output_tokens: 1, ignore_eos: true }
  expect(await client.responses.create(cut)).toMatchObject({
    status: 'incomplete',
    incomplete_details: { reason: 'max_output_tokens' },
    output: [{ status: 'incomplete' }],
    usage: { output_tokens: 1 },
  })
  script(() => [])
  const empty = await client.responses.create({ model, input: 'Who?' })
  expect(empty.output).toMatchObject([{ type: 'message', content: [{ text: '' }] }])
})

it('refers to items of the same client, which are stored unless that is refused', async () => {
  script(({ messages }) => (messages!.at(-1)!.role === 'tool' ? [{ text: 'Noon.' }] : [{ toolCalls: [call] }]))
  const provider = createOpenAI({ baseURL: `${server.origin}/v1`, apiKey: apiKeys.ann })
  const getTime = tool({ inputSchema: z.object({ zone: z.string() }), execute: async ({ zone }) => `12:00 ${zone}` })
  const tools = { get_time: getTime }
  expect((await generateText({ model: provider(model), prompt: 'When?', tools, stopWhen: stepCountIs(3) })).text).toBe(
    'Noon.',
  )
  const { output } = await client.responses.create({ model, input: 'a', tools: [clock] })
  const { id } = output[0]!
  const input = [
    { type: 'item_reference', id },
    { type: 'function_call_output', call_id: 'call_1', output: '1' },
  ]
  expect((await ask({ input })).status).toBe(200)
  expect(asked.mock.lastCall![0].messages).toMatchObject([
    { tool_calls: [{ id: 'call_1', function: { name: 'get_time', arguments: call.argumentsText } }] },
    { role: 'tool', name: 'get_time', content: '1' },
  ])
  const strange = await ask({ input }, apiKeys.bob)
  expect([strange.status, await strange.text()]).toEqual([400, expect.stringContaining('set store: false')])
  const unstored = await client.responses.create({ model, input: 'a', tools: [clock], store: false })
  expect((await ask({ input: [{ id: unstored.output[0]!.id }] })).status).toBe(400)
})

it('forgets the items that were used least recently', () => {
  const stored = new StoredItems()
  const add = (id: string, text = '') => {
    const item = { id, text }
    stored.add(null, [item])
  }
  for (const id of ['a', 'b']) add(id)
  for (let i = 2; i < 4096; i++) add(`${i}`)
  expect(stored.find(null, 'a')).toBe('{"id":"a","text":""}')
  add('new')
  expect(['a', 'b'].map((id) => stored.find(null, id) !== undefined)).toEqual([true, false])
  add('large', 'x'.repeat(2 ** 24 - 64))
  expect(['100', 'large'].map((id) => stored.find(null, id) !== undefined)).toEqual([false, true])
  expect(stored.find('ann', 'large')).toBeUndefined()
})

it('ends when its client leaves', async () => {
  const stream = await client.responses.create({ model, input: 'a', stream: true })
  for await (const { type } of stream) if (type === 'response.output_text.delta') break
  await expect.poll(() => server.load()).toEqual(IDLE)
})

it('ends with what failed', async () => {
  script(
    () => [{ text: 'Hi' }, { text: 'never' }],
    async (index) => {
      if (index === 1) throw new Error('broken')
    },
  )
  const events = (await (await ask({ input: 'a', stream: true })).text()).trim().split('\n\n')
  expect(JSON.parse(events.at(-1)!.split('data: ')[1]!)).toMatchObject({
    type: 'response.failed',
    sequence_number: events.length - 1,
    response: { status: 'failed', error: { code: 'server_error', message: expect.stringContaining('failed') } },
  })
  expect(server.errors.splice(0)).toMatchObject([{ message: 'broken' }])
})

it.each([
  [{ previous_response_id: 'resp_1' }, 'previous_response_id', 'send the whole conversation as input'],
  [{ conversation: 'c' }, 'conversation', 'send the whole conversation as input'],
  [{ background: true }, 'background', 'stream the response'],
  [{ max_tokens: 3 }, 'max_tokens', 'use max_output_tokens'],
  [{ num_predict: 3 }, 'num_predict', 'use max_output_tokens'],
  [{ tools: [{ type: 'web_search' }] }, 'tools[0].type', '"web_search"'],
  [{ input: [{ type: 'web_search_call' }] }, 'input[0].type', 'item_reference'],
  [{ input: [{ role: 'user', content: [{ type: 'input_image' }] }] }, 'input[0].content[0].type', 'input_text'],
  [{ input: [7] }, 'input[0]', 'an object'],
  [{ include: ['all'] }, 'include[0]', 'reasoning.encrypted_content'],
  [{ top_logprobs: 2 }, 'top_logprobs', 'include'],
  [{ tool_choice: 'required' }, 'tool_choice', 'needs tools'],
  [
    { tools: [clock], tool_choice: { type: 'allowed_tools', mode: 'auto', tools: [{ type: 'function', name: 'b' }] } },
    'tool_choice',
    'received "b"',
  ],
  [{ text: { format: { type: 'json_object' } }, grammar: 'root ::= "a"' }, 'grammar', 'text.format exclude each other'],
])('refuses %j by name', async (body, param, message) => {
  const response = await ask({ input: 'a', stream: true, ...body })
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ error: { param, message: expect.stringContaining(message) } })
})

it('refuses a conversation without room before the stream begins', async () => {
  for (const input of ['a '.repeat(9000), 'a '.repeat(600)]) {
    const response = await ask({ input, stream: true })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: 'context_length_exceeded' } })
  }
})
