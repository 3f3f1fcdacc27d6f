/** Calls that services have logged: each is read as the same conversation, of which the answer is trained. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadDataset, tokeniseRow } from '../../lib/batches/dataset.js'
import { InputError } from '../../lib/common/errors.js'
import { randomStream } from '../../lib/common/random.js'
import { RowReading } from '../../lib/rows/reading.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'
import { loadSmallTokenizer } from '../text/tokenizer/small-tokenizer.js'

/** A template that prints tools, calls and results; arguments are an object or its JSON. */
const TEMPLATE = `{%- if tools %}<|im_start|>tools
{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}
{%- if message.content is string %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}{{ '<call>' + call.function.name }}
{%- if call.function.arguments is string %}{{ call.function.arguments }}{% else %}{{ call.function.arguments | tojson }}{% endif %}
{%- endfor %}{{ '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

let tokenizer: Tokenizer
let template: string
const folder = mkdtempSync(join(tmpdir(), 'mora-logged-'))
beforeAll(async () => {
  tokenizer = await loadSmallTokenizer()
  template = join(folder, 'tools.jinja')
  writeFileSync(template, TEMPLATE)
})
afterAll(() => rmSync(folder, { recursive: true }))
const options = () => ({ tokenizer, template, cacheDir: null })

const schema = { type: 'object', properties: { city: { type: 'string' } } }
const tool = { name: 'weather', description: 'The weather.', parameters: schema }
const tools = [{ type: 'function', function: tool }]
const args = { city: 'Rome', days: 2 }
const json = '{"city": "Rome", "days": 2}'

/** A conversation with a call and its result, as OpenAI's chats have it. */
const openAiCall = { id: 'call_1', type: 'function', function: { name: 'weather', arguments: json } }
const history = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Rome?' },
  { role: 'assistant', content: null, tool_calls: [openAiCall] },
  { role: 'tool', tool_call_id: 'call_1', content: 'Rain.' },
]
const answer = { role: 'assistant', content: 'It rains.' }
const asking = history.slice(0, 2)
const called = { role: 'assistant', content: null, tool_calls: [openAiCall] }

const choice = (message: object, finish_reason = 'stop') => ({ index: 0, message, finish_reason, logprobs: null })
const stored = { object: 'chat.completion', id: 'chatcmpl-1', model: 'gpt-4o', tools, metadata: {} }

const dumped = (name: string, kwargs: object) => ({
  lc: 1,
  type: 'constructor',
  id: ['langchain', 'schema', 'messages', name],
  kwargs: { additional_kwargs: {}, response_metadata: {}, ...kwargs },
})
const lcCalls = { tool_calls: [{ name: 'weather', args, id: 'call_1', type: 'tool_call' }], invalid_tool_calls: [] }
const dumpedHistory = [
  dumped('SystemMessage', { content: 'Be brief.' }),
  dumped('HumanMessage', { content: 'Rome?' }),
  dumped('AIMessage', { content: [{ type: 'tool_use', id: 'call_1', name: 'weather', input: args }], ...lcCalls }),
  dumped('ToolMessage', { content: 'Rain.', tool_call_id: 'call_1', status: 'success' }),
]
const typed = [
  { type: 'system', data: { content: 'Be brief.', type: 'system' } },
  { type: 'human', data: { content: 'Rome?' } },
  { type: 'ai', data: { content: '', additional_kwargs: { tool_calls: [openAiCall] }, tool_calls: [] } },
  { type: 'tool', data: { content: 'Rain.', tool_call_id: 'call_1' } },
]
const flatTyped = [
  { type: 'system', content: 'Be brief.' },
  { type: 'human', content: 'Rome?', id: null },
  { type: 'ai', content: '', ...lcCalls },
  { type: 'tool', content: 'Rain.', tool_call_id: 'call_1' },
]
const generated = (message: object) => ({ generations: [[{ text: 'It rains.', type: 'ChatGeneration', message }]] })
const run = { id: 'r1', run_type: 'llm', error: null, extra: { invocation_params: { model: 'gpt-4o', tools } } }

const text = (content: string) => [{ type: 'text', content }]
const otelHistory = [
  { role: 'user', parts: text('Rome?') },
  { role: 'assistant', parts: [{ type: 'tool_call', id: 'call_1', name: 'weather', arguments: args }] },
  { role: 'tool', parts: [{ type: 'tool_call_response', id: 'call_1', response: 'Rain.' }] },
]
const genAi = {
  'gen_ai.operation.name': 'chat',
  'gen_ai.system_instructions': text('Be brief.'),
  'gen_ai.input.messages': otelHistory,
  'gen_ai.output.messages': [{ role: 'assistant', parts: text('It rains.'), finish_reason: 'stop' }],
  'gen_ai.tool.definitions': [{ type: 'function', ...tool }],
}
const anyValue = (value: unknown): object => {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'number') return { intValue: String(value) }
  if (Array.isArray(value)) return { arrayValue: { values: value.map(anyValue) } }
  return { kvlistValue: { values: keyValues(value as object) } }
}
const keyValues = (object: object) => Object.entries(object).map(([key, value]) => ({ key, value: anyValue(value) }))
const asJson = (object: object) =>
  Object.fromEntries(
    Object.entries(object).map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]),
  )
const openLlmetry = {
  'llm.request.type': 'chat',
  'gen_ai.prompt.0.role': 'system',
  'gen_ai.prompt.0.content': 'Be brief.',
  'gen_ai.prompt.1.role': 'user',
  'gen_ai.prompt.1.content': JSON.stringify([{ type: 'text', text: 'Rome?' }]),
  'gen_ai.prompt.2.role': 'assistant',
  'gen_ai.prompt.2.tool_calls.0.id': 'call_1',
  'gen_ai.prompt.2.tool_calls.0.name': 'weather',
  'gen_ai.prompt.2.tool_calls.0.arguments': json,
  'gen_ai.prompt.3.role': 'tool',
  'gen_ai.prompt.3.content': 'Rain.',
  'gen_ai.prompt.3.tool_call_id': 'call_1',
  'gen_ai.completion.0.role': 'assistant',
  'gen_ai.completion.0.content': 'It rains.',
  'gen_ai.completion.0.finish_reason': 'stop',
  'llm.request.functions.0.name': 'weather',
  'llm.request.functions.0.description': 'The weather.',
  'llm.request.functions.0.parameters': JSON.stringify(schema),
}

/** The conversation as items of OpenAI's Responses. */
const items = [
  { role: 'user', content: [{ type: 'input_text', text: 'Rome?' }] },
  { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'x' },
  { type: 'function_call', id: 'fc_1', call_id: 'call_1', name: 'weather', arguments: json, status: 'completed' },
  { type: 'function_call_output', call_id: 'call_1', output: 'Rain.' },
]
const said = { type: 'message', id: 'm', role: 'assistant', content: [{ type: 'output_text', text: 'It rains.' }] }
const response = {
  object: 'response',
  status: 'completed',
  instructions: 'Be brief.',
  tools: [{ type: 'function', ...tool, strict: true }],
  output: [said],
}

/** A span of the AI SDK, `ai.generateText.doGenerate`. */
const aiSdk = {
  'operation.name': 'ai.generateText.doGenerate',
  'gen_ai.system': 'openai.chat',
  'ai.prompt.messages': JSON.stringify([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: [{ type: 'text', text: 'Rome?' }] },
    {
      role: 'assistant',
      content: [{ type: 'tool-call', toolCallId: 'call_1', toolName: 'weather', input: args }],
    },
    {
      role: 'tool',
      content: [
        {
          type: 'tool-result',
          toolCallId: 'call_1',
          toolName: 'weather',
          output: { type: 'text', value: 'Rain.' },
        },
      ],
    },
  ]),
  'ai.prompt.tools': [
    JSON.stringify({ type: 'function', name: tool.name, description: tool.description, inputSchema: schema }),
  ],
  'ai.response.text': 'It rains.',
  'ai.response.finishReason': 'stop',
}

const observation = { id: 'o1', traceId: 't1', type: 'GENERATION', level: 'DEFAULT', statusMessage: null }
const toolMessage = { role: 'tool', content: tools[0] }

const ROWS: [string, string, object][] = [
  ['chat-completion', 'stored', { ...stored, messages: history, choices: [choice(answer)] }],
  ['chat-completion', 'stored, with its input', { ...stored, input: history, choices: [choice(answer)] }],
  [
    'chat-completion',
    'stored, with messages as they are listed',
    {
      ...stored,
      messages: history.map((message, i) => ({
        id: `chatcmpl-1-${i}`,
        content_parts: i === 1 ? [{ type: 'text', text: 'Rome?' }] : null,
        ...message,
        ...(i === 1 && { content: null }),
      })),
      choices: [choice({ ...answer, refusal: null, tool_calls: null })],
    },
  ],
  [
    'chat-completion',
    'beside its request',
    { request: { messages: history, tools }, response: { choices: [choice(answer)] } },
  ],
  ['chat-completion', 'beside its messages', { messages: history, tools, response: { choices: [choice(answer)] } }],
  [
    'chat-completion',
    'after its answer was added to the messages',
    { ...stored, messages: [...history, answer], choices: [choice(answer)] },
  ],
  ['chat-completion', 'as a response with its items', { ...response, input: items }],
  ['chat-completion', 'as a request and a response', { request: { ...response, input: items }, response }],
  ['langfuse', 'of responses', { ...observation, input: { ...response, input: items }, output: [said] }],
  [
    'langsmith',
    "of Anthropic's wrapper",
    {
      ...run,
      extra: {},
      inputs: {
        system: 'Be brief.',
        messages: [
          asking[1],
          { role: 'assistant', content: [{ type: 'tool_use', id: 'call_1', name: 'weather', input: args }] },
          { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'call_1', content: 'Rain.' }] },
        ],
        tools: [{ name: tool.name, description: tool.description, input_schema: schema }],
      },
      outputs: {
        type: 'message',
        role: 'assistant',
        content: [{ type: 'text', text: 'It rains.' }],
        stop_reason: 'end_turn',
      },
    },
  ],
  ['opentelemetry', 'of the AI SDK', { spanId: 's', attributes: aiSdk }],
  [
    'langfuse',
    'of the API',
    { ...observation, input: { messages: history, tools, tool_choice: 'auto' }, output: answer },
  ],
  ['langfuse', 'with a text', { ...observation, input: { messages: history, tools }, output: 'It rains.' }],
  ['langfuse', "of LangChain's tools", { ...observation, input: [...history, toolMessage], output: answer }],
  [
    'langfuse',
    'of blob storage',
    {
      ...observation,
      traceId: undefined,
      trace_id: 't1',
      input: JSON.stringify(history),
      output: JSON.stringify({ ...answer, additional_kwargs: {} }),
      tool_definitions: {
        weather: JSON.stringify({ description: 'The weather.', parameters: JSON.stringify(schema) }),
      },
      tool_calls: [],
    },
  ],
  [
    'langfuse',
    'of a data set',
    { id: 'i', input: { messages: history, tools }, expectedOutput: answer, metadata: null },
  ],
  [
    'langfuse',
    'of a data set in texts',
    { id: 'i', input: JSON.stringify({ messages: history, tools }), expectedOutput: 'It rains.' },
  ],
  [
    'langsmith',
    "of OpenAI's wrapper",
    {
      ...run,
      extra: {},
      inputs: { messages: history, tools, model: 'gpt-4o' },
      outputs: { id: 'x', choices: [choice(answer)], usage: {} },
    },
  ],
  [
    'langsmith',
    "of LangChain's models",
    {
      ...run,
      inputs: { messages: [dumpedHistory] },
      outputs: generated(dumped('AIMessage', { content: 'It rains.' })),
    },
  ],
  [
    'langsmith',
    'of messages_to_dict',
    { ...run, inputs: { messages: typed }, outputs: { message: { type: 'ai', data: { content: 'It rains.' } } } },
  ],
  [
    'langsmith',
    'of Parquet',
    {
      ...run,
      extra: JSON.stringify(run.extra),
      inputs: JSON.stringify({ messages: flatTyped }),
      outputs: JSON.stringify(generated({ type: 'ai', content: 'It rains.' })),
    },
  ],
  ['langsmith', 'of a data set of chats', { inputs: { messages: history, tools }, outputs: { message: answer } }],
  [
    'langsmith',
    'of a data set of graphs',
    {
      inputs: { messages: history, tools },
      outputs: { messages: [...history, { type: 'ai', content: 'It rains.', id: 'm5' }] },
    },
  ],
  ['opentelemetry', 'of spans', { name: 'chat gpt-4o', spanId: 's', attributes: genAi, status: { code: 0 } }],
  ['opentelemetry', 'of spans with JSON', { span_id: 's', attributes: asJson(genAi) }],
  ['opentelemetry', 'of OTLP', { traceId: 't', spanId: 's', attributes: keyValues(genAi), status: {} }],
  ['opentelemetry', 'of columns', genAi],
  ['opentelemetry', 'of OpenLLMetry', { context: { span_id: 's' }, attributes: openLlmetry }],
]

describe('logged calls', () => {
  it.each(ROWS)(
    '%s, %s: the conversation of a row of messages, with the answer alone trained',
    async (form, _, row) => {
      const isAnswer = (i: number) => ({ ...(i < history.length && { weight: 0 }) })
      const messages = [...history, answer].map((message, i) => ({
        ...message,
        ...(message.role === 'assistant' && isAnswer(i)),
      }))
      const expected = await loadDataset([{ messages, tools }], options())
      expect(expected.summary.droppedCalls + expected.summary.droppedTools).toBe(0)
      const read = await loadDataset([row], options())
      expect(read.parts).toMatchObject([{ form }])
      expect(await tokenizer.decode(read.row(0).documents[0]!.ids)).toBe(
        await tokenizer.decode(expected.row(0).documents[0]!.ids),
      )
      expect(read.row(0)).toEqual(expected.row(0))
    },
  )

  it.each(['STRING', 'JSON'] as const)('are read from Parquet, whose columns are %s', async (type) => {
    const logged = [
      { ...run, inputs: { messages: history, tools }, outputs: { message: answer } },
      { ...observation, input: { messages: history, tools }, output: answer },
    ]
    const expected = await loadDataset([logged[0]!], options())
    for (const row of logged) {
      const columnData = Object.entries(row).map(([name, value]) => {
        const isText = typeof value === 'string'
        const data = [isText || type === 'JSON' ? value : value === null ? null : JSON.stringify(value)]
        return { name, data, type: isText ? ('STRING' as const) : type }
      })
      const path = join(folder, `${type}.parquet`)
      writeFileSync(path, new Uint8Array(parquetWriteBuffer({ columnData })))
      expect((await loadDataset(path, options())).row(0)).toEqual(expected.row(0))
    }
  })

  const spoken = { ...genAi, 'gen_ai.input.messages': [otelHistory[0]] }
  const otelCall = { ...otelHistory[1], finish_reason: 'tool_call' }
  it.each<[string, object]>([
    ['chat-completion', { ...stored, messages: asking, choices: [choice(called, 'tool_calls')] }],
    ['langfuse', { ...observation, input: { messages: asking, tools }, output: called }],
    [
      'langfuse',
      { ...observation, input: { messages: asking, tools }, output: { role: 'assistant', content: '', ...lcCalls } },
    ],
    ['langsmith', { ...run, inputs: { messages: [dumpedHistory.slice(0, 2)] }, outputs: generated(dumpedHistory[2]!) }],
    ['chat-completion', { ...response, input: items.slice(0, 1), output: items.slice(1, 3) }],
    [
      'opentelemetry',
      {
        attributes: {
          ...aiSdk,
          'ai.prompt.messages': JSON.stringify(asking),
          'ai.response.text': '',
          'ai.response.toolCalls': JSON.stringify([{ toolCallId: 'call_1', toolName: 'weather', input: json }]),
        },
      },
    ],
    ['opentelemetry', { attributes: { ...spoken, 'gen_ai.output.messages': [otelCall] } }],
  ])('%s: calls of functions are trained', async (_, row) => {
    const expected = await loadDataset([{ messages: [...asking, called], tools }], options())
    expect((await loadDataset([row], options())).row(0)).toEqual(expected.row(0))
  })

  it('keep the spelling of numbers in the arguments of a call', async () => {
    const line = JSON.stringify({ attributes: genAi }).replace('"days":2', '"days":2.0')
    const row = new RowReading().training({ value: JSON.parse(line), where: 'log.jsonl:1', json: line })
    const call = { function: { name: 'weather', arguments: { city: 'Rome', days: Object(2) } } }
    expect(row).toMatchObject({ messages: [{}, {}, { tool_calls: [call] }, {}, {}] })
  })

  it('that failed, or have no answer or a part of one, and what is no call, are left out with a note', async () => {
    const said = (finish_reason: string) => ({ ...genAi, 'gen_ai.output.messages': [{ ...answer, finish_reason }] })
    const kept = { ...observation, input: asking, output: answer }
    const rows: [string, object][] = [
      ['failed', { ...kept, level: 'ERROR', output: 'I' }],
      ['failed', { ...run, error: 'RateLimitError', inputs: { messages: asking }, outputs: null }],
      ['failed', { ...run, status: 'error', inputs: { messages: asking }, outputs: { message: answer } }],
      ['failed', { attributes: { ...genAi, 'error.type': 'timeout' } }],
      ['failed', { spanId: 's', attributes: genAi, status: { code: 2 } }],
      ['failed', { span_id: 's', attributes: genAi, status: { status_code: 'ERROR' } }],
      ['unanswered', { ...kept, output: null }],
      ['unanswered', { ...kept, output: '' }],
      ['unanswered', { ...kept, output: { role: 'assistant', content: '' } }],
      ['unanswered', { inputs: { messages: asking }, outputs: {} }],
      ['unanswered', { id: 'i', input: 'a', expectedOutput: null }],
      [
        'unanswered',
        { ...stored, messages: asking, choices: [choice({ role: 'assistant', content: null, refusal: 'No.' })] },
      ],
      ['unanswered', { ...stored, messages: asking, choices: [] }],
      ['unanswered', { ...stored, messages: asking }],
      ['unanswered', { attributes: { 'gen_ai.operation.name': 'chat', 'gen_ai.request.model': 'm' } }],
      ['unfinished', { ...stored, messages: asking, choices: [choice(answer, 'length')] }],
      ['unfinished', { ...stored, messages: asking, choices: [choice(answer, 'content_filter')] }],
      ['unfinished', { attributes: said('length') }],
      [
        'unfinished',
        {
          ...run,
          inputs: { messages: asking },
          outputs: generated({ type: 'ai', content: 'I', response_metadata: { stop_reason: 'max_tokens' } }),
        },
      ],
      [
        'unfinished',
        {
          ...run,
          inputs: { messages: asking },
          outputs: generated({ type: 'ai', content: '', invalid_tool_calls: [{ name: 'weather', args: '{' }] }),
        },
      ],
      ['failed', { ...response, input: items, status: 'failed', output: [] }],
      [
        'unfinished',
        { ...response, input: items, status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } },
      ],
      ['unfinished', { attributes: { ...aiSdk, 'ai.response.finishReason': 'length' } }],
      ['others', { ...kept, type: 'SPAN' }],
      ['others', { ...kept, type: 'CHAIN', output: { choices: [choice(answer), choice(answer)] } }],
      [
        'others',
        {
          ...run,
          run_type: 'chain',
          inputs: { messages: asking },
          outputs: { messages: [{ role: 'user', content: 'Else?' }] },
        },
      ],
      [
        'others',
        {
          spanId: 's',
          attributes: { ...genAi, 'gen_ai.operation.name': 'invoke_agent', 'gen_ai.output.messages': [answer, answer] },
        },
      ],
      ['others', { ...run, run_type: 'chain', inputs: { messages: asking }, outputs: { messages: [answer] } }],
      ['others', { spanId: 's', attributes: { 'http.request.method': 'POST' } }],
      ['others', { spanId: 's', attributes: { ...genAi, 'gen_ai.operation.name': 'invoke_agent' } }],
    ]
    for (const [reason, row] of rows)
      expect(new RowReading().training({ value: row, where: 'row' }), JSON.stringify(row)).toEqual({
        kind: 'left-out',
        reason,
      })
    const notes: string[] = []
    const values = rows.map(([, row]) => row)
    const data = await loadDataset([kept, ...values], { ...options(), onWarning: (note) => notes.push(note) })
    expect(data.length).toBe(1)
    const leftOut = { failed: 7, unanswered: 9, unfinished: 7, others: 7 }
    expect(data.summary).toMatchObject({ leftOut, first: { leftOut: 'row 2 of the rows given' } })
    expect(notes).toEqual([
      'the rows given: 30 logged calls were left out (that failed: 7, without an answer: 9, with an answer that a limit or a filter has cut: 7, that are no calls of a model (spans, tools, chains): 7; first: row 2 of the rows given).',
    ])
    await expect(loadDataset(values, options())).rejects.toThrow(
      'nothing would be trained in any of its 30 rows (logged calls that failed: 7',
    )
  })

  it('are refused with the reason, if no choice is right', () => {
    const read = (value: object) => () => new RowReading().training({ value, where: 'log.jsonl:3' })
    expect(read({ ...stored, choices: [choice(answer)] })).toThrow(
      'log.jsonl:3: an answer is stored without what was asked',
    )
    expect(read({ ...stored, messages: asking, choices: [choice(answer), choice(answer)] })).toThrow(
      'log.jsonl:3: choices: expected one answer but received 2',
    )
    const graph = { messages: [{ role: 'user', content: 'Else?' }, answer] }
    expect(read({ inputs: { messages: asking }, outputs: graph })).toThrow(
      'log.jsonl:3: outputs.messages: expected the answer',
    )
    expect(read({ ...observation, input: asking, output: { answer: 4 } })).toThrow(
      'log.jsonl:3: output: expected what the model said, a text or a message, but received an object of answer',
    )
    const search = [...items, { type: 'web_search_call', id: 'ws' }]
    expect(read({ ...response, input: search })).toThrow(
      'log.jsonl:3: messages[4]: an item of type "web_search_call" cannot be trained',
    )
    const image = { role: 'user', parts: [{ type: 'uri', modality: 'image', uri: 'x' }] }
    expect(read({ attributes: { ...genAi, 'gen_ai.input.messages': [image] } })).toThrow(
      'log.jsonl:3: attributes.gen_ai.input.messages[1].content[0]: expected a part of type "text"',
    )
  })

  it('are named in batches of spans, with the way to read them', () => {
    const value = { resourceSpans: [{ scopeSpans: [{ spans: [{ attributes: genAi }] }] }] }
    expect(() => new RowReading().training({ value, where: 'log.jsonl:3' })).toThrow("write a span a line (jq -c '.res")
  })

  it('say which columns were read', async () => {
    const parts = async (row: object, more = {}) => (await loadDataset([row], { ...options(), ...more })).parts
    const row = { ...observation, input: { messages: history, tools }, output: answer }
    const ignored = ['id', 'traceId', 'type', 'level', 'statusMessage']
    expect(await parts(row)).toMatchObject([{ form: 'langfuse', columns: ['input', 'output'], ignored }])
    expect(await parts({ spanId: 's', attributes: genAi })).toMatchObject([
      { columns: ['attributes'], ignored: ['spanId'] },
    ])
    const columns = { prompt: 'input.messages', completion: 'output' }
    expect(await parts({ ...row, type: 'SPAN' }, { columns })).toMatchObject([{ form: 'columns' }])
  })

  it('are no rows that only have a column of that name', () => {
    const value = { question: 'a', answer: 'b', attributes: { colour: 'red' }, context: null }
    expect(new RowReading().training({ value, where: 'row' })).toMatchObject({ kind: 'completion', prompt: 'a' })
  })

  it('give prompts without their answers, and questions', () => {
    const value = { ...observation, level: 'ERROR', input: asking, output: null }
    expect(new RowReading().prompt({ value, where: 'row' })).toEqual({ messages: asking })
    const asked = { inputs: { question: 'a' }, outputs: { answer: 4 } }
    expect(new RowReading().question({ value: asked, where: 'row' })).toMatchObject({ prompt: 'a', answer: '4' })
    expect(() => new RowReading().question({ value, where: 'log.jsonl:3' })).toThrow(
      'log.jsonl:3: there is no answer to compare with in calls that failed',
    )
    const logged = { ...stored, messages: asking, choices: [choice(answer)] }
    expect(new RowReading().question({ value: logged, where: 'row' })).toMatchObject({
      messages: asking,
      answer: 'It rains.',
    })
  })

  it('of texts have a prompt and a completion', () => {
    const value = { object: 'text_completion', prompt: 'a', choices: [{ text: 'b', index: 0, finish_reason: 'stop' }] }
    const messages = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
    ]
    expect(new RowReading().training({ value, where: 'row' })).toMatchObject({ messages })
  })

  it('of texts that are JSON stay texts', () => {
    const value = { ...observation, input: '{"city": "Rome"}', output: '{"rain": true}' }
    expect(new RowReading().training({ value, where: 'row' })).toEqual({
      kind: 'completion',
      prompt: '{"city": "Rome"}',
      completion: '{"rain": true}',
    })
  })
})

it('logged calls that are changed at random are read, or refused by name', () => {
  const random = randomStream(Number(process.env.MORA_TEST_SEED ?? 1), 'logged')
  const below = (count: number) => Math.floor(random.uniform() * count)
  const odd = [null, 0, 2 ** 60, '', '[', '{}', '[{"role": 1}]', [], {}, [[]], [{}], [null], { role: {} }, true]
  /** Returns a copy in which a value is another, at a depth of its own. */
  const changed = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null || below(6) === 0) return odd[below(odd.length)]
    const entries = Object.entries(value)
    const at = below(entries.length)
    const copy = entries.map(([key, one], i) => [key, i === at ? changed(one) : one] as const)
    return Array.isArray(value) ? copy.map(([, one]) => one) : Object.fromEntries(copy)
  }
  const count = { read: 0, refused: 0 }
  for (let i = 0; i < 2000; i++) {
    const value = changed(ROWS[below(ROWS.length)]![2])
    try {
      new RowReading().training({ value, where: 'row', json: JSON.stringify(value) })
      count.read++
    } catch (error) {
      if (!(error instanceof InputError)) throw new Error(JSON.stringify(value), { cause: error })
      count.refused++
    }
  }
  expect(Math.min(count.read, count.refused)).toBeGreaterThan(200)
})

it('a conversation whose answer is in another column is refused, since its history alone would be trained', () => {
  const row = { messages: [...history, { role: 'user', content: 'And now?' }], output: 'Sun.' }
  const read = (value: object, options = {}) => new RowReading(options).training({ value, where: 'log.jsonl:3' })
  expect(() => read(row)).toThrow("log.jsonl:3: messages ends with the user's turn, and output may be the answer")
  expect(read(row, { ignoreColumns: ['output'] })).toMatchObject({ kind: 'messages' })
  expect(read({ ...row, messages: [...row.messages, answer] })).toMatchObject({ kind: 'messages' })
})

it("parts of the AI SDK's messages are calls and results", async () => {
  const call = { type: 'tool-call', toolCallId: 'call_1', toolName: 'weather', input: args }
  const result = {
    type: 'tool-result',
    toolCallId: 'call_1',
    toolName: 'weather',
    output: { type: 'text', value: 'Rain.' },
  }
  const rendered = async (messages: object[]) => (await tokeniseRow({ messages, tools }, options())).documents
  const said = { role: 'assistant', content: [{ type: 'text', text: 'It rains.' }] }
  expect(
    await rendered([...asking, { role: 'assistant', content: [call] }, { role: 'tool', content: [result] }, said]),
  ).toEqual(await rendered([...history, answer]))
})
