import { describe, expect, it } from 'vitest'
import { Float } from '../../lib/data/rows/float.js'
import { parseRow } from '../../lib/data/rows/rows.js'

const parse = (value: unknown) => parseRow(value, 'train.jsonl:12')

describe('parseRow', () => {
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

  it('keeps numbers of calls as their JSON has them', () => {
    const json =
      '{"messages": [{"role": "user", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"2": 2.0, "1": 12345678901234567890, "x": 0.5}}}]}]}'
    expect(parseRow(JSON.parse(json), 'row 1', json)).toEqual({
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
                  ['2', new Float(2)],
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
    [[1, 2], /train\.jsonl:12: the row: expected object, received array/],
    [{ question: 'x' }, /train\.jsonl:12: expected the keys text, .*but it has question/],
    [{ prompt: 'x' }, /train\.jsonl:12: completion: expected string, received nothing/],
    [{ messages: [{ role: 'user', content: 4 }] }, /train\.jsonl:12: messages\[0\]\.content/],
    [
      { messages: [{ role: 'user', weight: 0.5 }] },
      /train\.jsonl:12: messages\[0\]\.weight: expected 0 \(not trained\) or 1/,
    ],
    [{ messages: [{ role: 'assistant', tool_calls: 'f()' }] }, /train\.jsonl:12: messages\[0\]\.tool_calls/],
    [{ messages: [{ role: 'user' }], tools: '{}' }, /train\.jsonl:12: tools: expected a list of schemas/],
    [{ messages: [] }, /train\.jsonl:12: messages/],
    [{ input_ids: [1, -2] }, /train\.jsonl:12: input_ids\[1\]/],
    [{ input_ids: [1, 1.5] }, /train\.jsonl:12: input_ids\[1\]/],
    [{ input_ids: [1, 2], labels: [1] }, /train\.jsonl:12: labels: expected 2 entries/],
    [{ input_ids: [1, 2], labels: [1, 7] }, /train\.jsonl:12: labels\[1\]: expected -100 or the id at its place, 2/],
  ])('names file, line and place of a malformed row: %j', (value, message) => {
    expect(() => parse(value)).toThrow(message)
  })
})
