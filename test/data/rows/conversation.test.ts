import { describe, expect, it } from 'vitest'
import { turnsOf } from '../../../lib/data/rows/conversation.js'
import { RowReading } from '../../../lib/data/rows/reading.js'
import type { MessagesRow } from '../../../lib/data/rows/rows.js'

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
    }) as MessagesRow
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
      /conversations\[0\]\.content\[0\]: expected a part of type "text" with its text but received one of type "image_url"/,
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
