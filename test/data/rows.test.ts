import { describe, expect, it } from 'vitest'
import { parseRow } from '../../lib/data/rows.js'

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
      messages: [{ role: 'user', content: 'a', name: 'n' }],
    })
  })

  it.each([
    [[1, 2], /train\.jsonl:12: the row: expected object, received array/],
    [{ question: 'x' }, /train\.jsonl:12: expected the keys text, .*but it has question/],
    [{ prompt: 'x' }, /train\.jsonl:12: completion: expected string, received nothing/],
    [{ messages: [{ role: 'user', content: 4 }] }, /train\.jsonl:12: messages\[0\]\.content/],
    [{ messages: [] }, /train\.jsonl:12: messages/],
    [{ input_ids: [1, -2] }, /train\.jsonl:12: input_ids\[1\]/],
    [{ input_ids: [1, 1.5] }, /train\.jsonl:12: input_ids\[1\]/],
    [{ input_ids: [1, 2], labels: [1] }, /train\.jsonl:12: labels: expected 2 entries/],
    [{ input_ids: [1, 2], labels: [1, 7] }, /train\.jsonl:12: labels\[1\]: expected -100 or the id at its place, 2/],
  ])('names file, line and place of a malformed row: %j', (value, message) => {
    expect(() => parse(value)).toThrow(message)
  })
})
