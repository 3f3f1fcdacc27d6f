import { describe, expect, it } from 'vitest'
import { RowReading } from '../../lib/rows/reading.js'
import type { Row } from '../../lib/rows/rows.js'

const parse = (value: unknown) => {
  const { roleAt, ...row } = new RowReading().training({ value, where: 'train.jsonl:12' }) as Extract<
    Row,
    { kind: 'messages' }
  >
  return row
}

describe('rows to train', () => {
  it('knows every form', () => {
    expect(parse({ text: 'a' })).toEqual({ kind: 'text', text: 'a' })
    expect(parse({ prompt: 'a', completion: 'b', answer: 3 })).toEqual({
      kind: 'completion',
      prompt: 'a',
      completion: 'b',
    })
    expect(parse({ instruction: 'a', output: 'c' })).toEqual({ kind: 'completion', prompt: 'a', completion: 'c' })
    expect(parse({ instruction: 'a', input: 'b', output: 'c' })).toMatchObject({ prompt: 'a\n\nb' })
    expect(parse({ input_ids: [1, 2], labels: [-100, 2] })).toEqual({
      kind: 'tokenised',
      ids: [1, 2],
      labels: [-100, 2],
    })
    expect(parse({ messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }], name: 'n' }] })).toEqual({
      kind: 'messages',
      messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }], name: 'n' }],
    })
  })

  it('knows tools and variables of the template beside messages', () => {
    const messages = [{ role: 'user', content: 'a' }]
    const tools = [{ type: 'function', function: { name: 'f' } }]
    expect(parse({ messages, tools, chat_template_kwargs: { enable_thinking: false } })).toEqual({
      kind: 'messages',
      messages,
      tools,
      templateOptions: { enable_thinking: false },
    })
    expect(parse({ messages, tools: null, chat_template_kwargs: null })).toEqual({ kind: 'messages', messages })
    expect(parse({ messages, tools: [] })).toEqual({ kind: 'messages', messages, tools: [] })
    expect(parse({ messages, tools: JSON.stringify(tools) })).toEqual({ kind: 'messages', messages, tools })
  })

  it('knows a prompt and a completion of messages, of which the prompt is not trained', () => {
    const prompt = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
      { role: 'user', content: 'c' },
    ]
    const completion = [{ role: 'assistant', content: 'd' }]
    const tools = [{ type: 'function', function: { name: 'f' } }]
    expect(parse({ prompt, completion, tools, chat_template_kwargs: { deep: true } })).toEqual({
      kind: 'messages',
      messages: [prompt[0], { ...prompt[1], weight: 0 }, prompt[2], completion[0]],
      tools,
      templateOptions: { deep: true },
    })
  })

  it("knows ShareGPT's conversations, and messages under that key", () => {
    const conversations = [
      { from: 'human', value: 'a' },
      { from: 'gpt', value: 'b', weight: 0 },
      { from: 'tool', value: 'c' },
      { role: 'assistant', content: 'd' },
    ]
    const messages = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b', weight: 0 },
      { role: 'tool', content: 'c' },
      { role: 'assistant', content: 'd' },
    ]
    expect(parse({ conversations, id: 'x' })).toEqual({ kind: 'messages', messages })
    expect(parse({ conversations, system: 's', tools: '[]' })).toEqual({
      kind: 'messages',
      messages: [{ role: 'system', content: 's' }, ...messages],
      tools: [],
    })
    const told = [{ from: 'system', value: 't' }, ...conversations]
    expect(parse({ conversations: told, system: 's' })).toMatchObject({ messages: [{ content: 't' }, ...messages] })
    expect(parse({ conversations, text: 'as before' })).toEqual({ kind: 'text', text: 'as before' })
  })

  it('keeps numbers of tools as written in JSON, whatever the form and the other keys', () => {
    const context = '"tools": [{"least": 2.0}], "7": 0'
    const tools = [{ least: Object(2) }]
    for (const json of [
      `{"messages": [{"role": "user", "content": "a"}], ${context}}`,
      `{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "user", "content": "b"}], ${context}}`,
      `{"conversations": [{"from": "human", "value": "a"}], ${context}}`,
    ]) {
      const row = new RowReading().training({ value: JSON.parse(json), where: 'row 1', json })
      expect(row).toMatchObject({ kind: 'messages', messages: { 0: { role: 'user', content: 'a' } }, tools })
    }
  })

  it('keeps numbers of calls as written in JSON', () => {
    const json =
      '{"messages": [{"role": "user", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"2": 2.0, "1": 12345678901234567890, "x": 0.5}}}]}]}'
    expect(new RowReading().training({ value: JSON.parse(json), where: 'row 1', json })).toEqual({
      kind: 'messages',
      messages: [
        {
          role: 'user',
          content: null,
          tool_calls: [
            {
              function: {
                name: 'f',
                arguments: new Map<string, unknown>([
                  ['2', Object(2)],
                  ['1', 12345678901234567890n],
                  ['x', 0.5],
                ]),
              },
            },
          ],
        },
      ],
    })
  })

  it.each([
    [[1, 2], /train\.jsonl:12: expected an object of columns but received \[1,2\]/],
    [
      { question: 'x' },
      /train\.jsonl:12: no form of rows has the columns question; name the columns by role, as in the option columns: { prompt: 'question', completion: 'COLUMN' }/,
    ],
    [
      { prompt: 'x' },
      /train\.jsonl:12: no form of rows has the columns prompt; .*the option columns: { prompt: 'prompt', completion: 'COLUMN' }/,
    ],
    [{ messages: [{ role: 'user', content: 4 }] }, /train\.jsonl:12: messages\[0\]\.content/],
    [
      { messages: [{ role: 'user', weight: 0.5 }] },
      /train\.jsonl:12: messages\[0\]\.weight: expected 0 \(not trained\) or 1/,
    ],
    [{ messages: [{ role: 'assistant', tool_calls: 'f()' }] }, /train\.jsonl:12: messages\[0\]\.tool_calls/],
    [{ messages: [{ role: 'user' }], tools: '{}' }, /train\.jsonl:12: tools: expected a list of schemas/],
    [{ prompt: [{ role: 4 }], completion: 'x' }, /train\.jsonl:12: prompt\[0\]\.role: expected a role/],
    [{ prompt: 'x', completion: [4] }, /train\.jsonl:12: completion\[0\]: expected a message/],
    [
      { conversations: [{ from: 'human' }] },
      /train\.jsonl:12: conversations\[0\]: expected a message of from and value/,
    ],
    [{ messages: [] }, /train\.jsonl:12: messages/],
    [{ input_ids: [1, -2] }, /train\.jsonl:12: input_ids\[1\]/],
    [{ input_ids: [1, 1.5] }, /train\.jsonl:12: input_ids\[1\]/],
    [{ input_ids: [1, 2], labels: [1] }, /train\.jsonl:12: labels: expected 2 entries/],
    [{ input_ids: [1, 2], labels: [1, 7] }, /train\.jsonl:12: labels\[1\]: expected -100 or the id at its place, 2/],
  ])('names file, line and place of a malformed row: %j', (value, message) => {
    expect(() => parse(value)).toThrow(message)
  })
})
