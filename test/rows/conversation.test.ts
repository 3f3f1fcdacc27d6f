import { describe, expect, it } from 'vitest'
import { turnsOf } from '../../lib/rows/conversation.js'
import { RowReading } from '../../lib/rows/reading.js'
import type { Row } from '../../lib/rows/rows.js'

const turns = (value: unknown, column = 'conversations') => turnsOf({ value, column, where: 'rows.jsonl:3' })
const messages = (value: unknown) => turns(value).map(({ message }) => message)
const call = (name: string) => ({ type: 'function', function: { name, arguments: { city: 'Rome' } } })
const written = (name: string) => JSON.stringify({ name, arguments: { city: 'Rome' } })

describe('turns of data sets', () => {
  it("have LLaMA-Factory's calls and observations", () => {
    expect(
      messages([
        { from: 'human', value: 'Weather?' },
        { from: 'function_call', value: written('weather') },
        { from: 'observation', value: 'Sun.' },
        { from: 'gpt', value: 'It is sunny.' },
      ]),
    ).toEqual([
      { role: 'user', content: 'Weather?' },
      { role: 'assistant', tool_calls: [call('weather')] },
      { role: 'tool', content: 'Sun.' },
      { role: 'assistant', content: 'It is sunny.' },
    ])
  })

  it("have ms-swift's calls, which join the answer before them", () => {
    expect(
      messages([
        { role: 'user', content: 'Weather and time?' },
        { role: 'assistant', content: 'I look.' },
        { role: 'tool_call', content: written('weather') },
        { role: 'tool_call', content: written('time') },
        { role: 'tool_response', content: 'Sun.' },
      ]),
    ).toEqual([
      { role: 'user', content: 'Weather and time?' },
      { role: 'assistant', content: 'I look.', tool_calls: [call('weather'), call('time')] },
      { role: 'tool', content: 'Sun.' },
    ])
  })

  it("have OpenAI's older calls", () => {
    const row = new RowReading().training({
      value: {
        messages: [
          { role: 'user', content: 'Weather?' },
          { role: 'assistant', content: null, function_call: { name: 'weather', arguments: '{"city": "Rome"}' } },
          { role: 'function', name: 'weather', content: 'Sun.' },
        ],
        functions: [{ name: 'weather', parameters: {} }],
      },
      where: 'rows.jsonl:3',
    }) as Extract<Row, { kind: 'messages' }>
    expect(row.messages).toEqual([
      { role: 'user', content: 'Weather?' },
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ type: 'function', function: { name: 'weather', arguments: '{"city": "Rome"}' } }],
      },
      { role: 'tool', name: 'weather', content: 'Sun.' },
    ])
    expect(row.tools).toEqual([{ type: 'function', function: { name: 'weather', parameters: {} } }])
  })

  it("have LLaMA-Factory's parts of reasoning and calls", () => {
    const content = [
      { type: 'reasoning', value: 'Hm.' },
      { type: 'text', value: 'I look.' },
      { type: 'tool_call', value: written('weather') },
    ]
    expect(messages([{ role: 'assistant', content, loss_weight: 1 }])).toEqual([
      {
        role: 'assistant',
        content: [{ type: 'text', text: 'I look.' }],
        reasoning_content: 'Hm.',
        tool_calls: [call('weather')],
        weight: 1,
      },
    ])
  })

  it.each([
    [
      'Anthropic',
      { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Rome' } },
      {
        role: 'user',
        content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text: 'Sun.' }] }],
      },
    ],
    [
      'Azure',
      { type: 'tool_call', tool_call_id: 'call_1', name: 'weather', arguments: { city: 'Rome' } },
      { role: 'tool', content: [{ type: 'tool_result', tool_result: 'Sun.' }] },
    ],
    [
      'Bedrock',
      { toolUse: { toolUseId: 't1', name: 'weather', input: { city: 'Rome' } } },
      { role: 'user', content: [{ toolResult: { toolUseId: 't1', content: [{ text: 'Sun.' }] } }] },
    ],
  ])('have the calls and results of %s, which are parts', (_, part, result) => {
    const list = [
      { role: 'user', content: [{ text: 'Weather?' }] },
      { role: 'assistant', content: [{ text: 'I look.' }, part] },
      result,
      { role: 'assistant', content: [{ text: 'It is sunny.' }] },
    ]
    const text = (text: string) => [{ type: 'text', text }]
    expect(messages(list)).toEqual([
      { role: 'user', content: text('Weather?') },
      { role: 'assistant', content: text('I look.'), tool_calls: [call('weather')] },
      { role: 'tool', content: 'Sun.' },
      { role: 'assistant', content: text('It is sunny.') },
    ])
  })

  it('have several results beside what a user says, and objects as JSON with numbers as they are written', () => {
    const content = [
      { type: 'tool_result', tool_result: { degrees: 2.0 } },
      { type: 'tool_result', content: [{ json: { a: 1 } }, { text: 'b' }] },
      { type: 'tool_result' },
      { type: 'text', text: 'And tomorrow?' },
    ]
    const value = [{ role: 'user', content }]
    const exact = [
      { role: 'user', content: [{ type: 'tool_result', tool_result: { degrees: Object(2) } }, ...content.slice(1)] },
    ]
    expect(turnsOf({ value, exact, column: 'messages', where: 'rows.jsonl:3' })).toMatchObject([
      { message: { role: 'tool', content: '{"degrees": 2.0}' } },
      { message: { role: 'tool', content: '{"a": 1}\nb' } },
      { message: { role: 'tool', content: '' } },
      { message: { role: 'user', content: [{ type: 'text', text: 'And tomorrow?' }] } },
    ])
  })

  it.each<[tool: string, row: object, expected: object]>([
    [
      'Bedrock',
      {
        schemaVersion: 'bedrock-conversation-2024',
        system: [{ text: 'Be brief.' }],
        messages: [
          { role: 'user', content: [{ text: 'a' }] },
          { role: 'assistant', content: [{ text: 'b' }] },
        ],
        toolConfig: {
          tools: [
            { toolSpec: { name: 'weather', description: 'c', inputSchema: { json: { type: 'object' } } } },
            { cachePoint: { type: 'default' } },
          ],
          toolChoice: { auto: {} },
        },
      },
      {
        tools: [{ type: 'function', function: { name: 'weather', description: 'c', parameters: { type: 'object' } } }],
        messages: [
          { role: 'system', content: [{ type: 'text', text: 'Be brief.' }] },
          { role: 'user' },
          { role: 'assistant' },
        ],
      },
    ],
    [
      'Vertex AI',
      {
        systemInstruction: { role: 'system', parts: [{ text: 'Be brief.' }] },
        contents: [
          { role: 'user', parts: [{ text: 'Weather?' }] },
          { role: 'model', parts: [{ functionCall: { name: 'weather', args: { city: 'Rome' } } }] },
          { role: 'user', parts: [{ functionResponse: { name: 'weather', response: { sky: 'clear' } } }] },
          { role: 'model', parts: [{ text: 'It is sunny.' }] },
        ],
        tools: [{ functionDeclarations: [{ name: 'weather' }] }],
      },
      {
        messages: [
          { role: 'system', content: [{ type: 'text', text: 'Be brief.' }] },
          { role: 'user', content: [{ type: 'text', text: 'Weather?' }] },
          { role: 'assistant', tool_calls: [call('weather')] },
          { role: 'tool', content: '{"sky": "clear"}' },
          { role: 'assistant', content: [{ type: 'text', text: 'It is sunny.' }] },
        ],
        tools: [{ type: 'function', function: { name: 'weather' } }],
      },
    ],
    [
      'Azure',
      {
        conversation: {
          messages: [
            { role: 'user', content: 'a' },
            { role: 'assistant', content: 'b' },
          ],
          context: 'c',
        },
      },
      {
        messages: [
          { role: 'user', content: 'a' },
          { role: 'assistant', content: 'b' },
        ],
      },
    ],
    [
      'Phoenix',
      { input: { question: 'a' }, output: { answer: 4 } },
      { kind: 'completion', prompt: 'a', completion: '4' },
    ],
    ['LangSmith', { inputs: { text: 'a' }, outputs: { output: { text: 'b' } } }, { prompt: 'a', completion: 'b' }],
    [
      "LangSmith's chats",
      {
        inputs: { messages: [{ role: 'user', content: 'a' }], n: 3 },
        outputs: { message: { role: 'assistant', content: 'b' } },
      },
      {
        messages: [
          { role: 'user', content: 'a' },
          { role: 'assistant', content: 'b' },
        ],
      },
    ],
    [
      'Langfuse',
      { id: 'i1', input: { q: 'a' }, expectedOutput: { a: 'b' }, metadata: null },
      { prompt: 'a', completion: 'b' },
    ],
    ['Braintrust', { id: 'i1', input: 'a', expected: 'b', tags: ['t'] }, { prompt: 'a', completion: 'b' }],
  ])('are in the rows of %s', (_, value, expected) => {
    expect(new RowReading().training({ value, where: 'rows.jsonl:3' })).toMatchObject(expected)
  })

  it('are refused as objects of several texts, with the names of their keys', () => {
    const value = { input: { question: 'a', context: 'c' }, output: { answer: 'b' } }
    const reading = (columns?: Record<string, string>) =>
      new RowReading({ columns }).training({ value, where: 'row 1' })
    expect(() => reading()).toThrow(
      "row 1: input: expected a text or messages but received an object of question, context; name the columns to read, as in the option columns: { prompt: 'input.question', completion: 'output.answer' }.",
    )
    expect(reading({ prompt: 'input.question', completion: 'output.answer' })).toMatchObject({ prompt: 'a' })
  })

  it('have parts of reasoning, as Mistral, Anthropic, Bedrock and Vertex write them', () => {
    const answer = { type: 'text', text: 'Four.' }
    const thinking = { type: 'thinking', thinking: 'Two and two.' }
    const signed = { ...thinking, signature: 'x' }
    const listed = {
      ...thinking,
      thinking: [
        { type: 'text', text: 'Two ' },
        { type: 'text', text: 'and two.' },
      ],
    }
    for (const [given, read] of [
      [{ reasoningContent: { reasoningText: { text: thinking.thinking, signature: 'x' } } }, thinking],
      [{ thought: true, text: thinking.thinking }, thinking],
      [thinking, thinking],
      [signed, signed],
      [listed, thinking],
    ]) {
      const content = [given, answer]
      expect(messages([{ role: 'assistant', content }])).toEqual([{ role: 'assistant', content: [read, answer] }])
    }
    expect(() => messages([{ role: 'assistant', content: [{ type: 'thinking' }, answer] }])).toThrow(
      /content\[0\]: expected a part of type "text" or "thinking" with its text but received one of type "thinking"/,
    )
  })

  it.each(['__proto__', 'constructor', 'toString'])('have a role that is a word of JavaScript: %s', (from) => {
    expect(messages([{ from, value: 'Hi' }])).toEqual([{ role: from, content: 'Hi' }])
  })

  it('that call nothing keep what they say', () => {
    expect(messages([{ from: 'function_call', value: 'weather("Rome")' }])).toEqual([
      { role: 'assistant', content: 'weather("Rome")' },
    ])
  })

  it('have speakers of several names, and say whether they are trained', () => {
    expect(
      messages([
        { from: 'Human', value: 'a' },
        { from: 'bard', value: 'b', train: false },
        { role: 'USER', content: 'c' },
        { role: 'assistant', content: 'd', loss_weight: 0 },
        { role: 'ipython', content: 'e', loss: true },
      ]),
    ).toEqual([
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b', weight: 0 },
      { role: 'user', content: 'c' },
      { role: 'assistant', content: 'd', weight: 0 },
      { role: 'ipython', content: 'e', weight: 1 },
    ])
  })

  it('name the place of their role in the row', () => {
    const own = turns([
      { from: 'human', value: 'a' },
      { role: 'x', content: 'b' },
    ])
    expect(own.map(({ roleAt }) => roleAt)).toEqual(['conversations[0].from', 'conversations[1].role'])
  })

  it.each([
    ['x', /^rows\.jsonl:3: conversations: expected a list of messages but received "x"/],
    [[], /conversations: expected a list of messages but received \[\]/],
    [['x'], /conversations\[0\]: expected a message but received "x"/],
    [[{ content: 'x' }], /conversations\[0\]: expected a role but received none/],
    [[{ role: 3 }], /conversations\[0\]\.role: expected a role but received 3/],
    [[{ from: 'gpt', value: 3 }], /conversations\[0\]\.value: expected a text or a list of parts but received 3/],
    [
      [{ role: 'user', content: [{ type: 'image_url', image_url: 'x' }] }],
      /conversations\[0\]\.content\[0\]: expected a part of type "text" or "thinking" with its text but received one of type "image_url"/,
    ],
    [
      [{ role: 'assistant', content: 'x', loss_weight: 0.5 }],
      /loss_weight: expected 0 \(not trained\) or 1 but received 0.5/,
    ],
    [[{ role: 'assistant', content: 'x', weight: 'no' }], /weight: expected 0 \(not trained\) or 1 but received "no"/],
  ])('that are malformed name the row and the place: %j', (value, message) => {
    expect(() => turns(value)).toThrow(message)
  })
})
