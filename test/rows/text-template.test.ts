import { describe, expect, it } from 'vitest'
import { RowReading } from '../../lib/rows/reading.js'
import { TextTemplate } from '../../lib/rows/text-template.js'

const of = (template: string, value: unknown, json?: string) =>
  new RowReading({ text: template }).training({ value, where: 'rows.jsonl:7', json })

describe("a text of one's own", () => {
  it('puts columns where their names stand in braces', () => {
    const row = { query: 'How many {boats}?', response: 'six', messages: 'not looked at' }
    expect(of('Question: {query}\nAnswer: { response }', row)).toEqual({
      kind: 'text',
      text: 'Question: How many {boats}?\nAnswer: six',
    })
    expect(of('{$&} {query}', { $: 1, query: '$&', '$&': 'a$1' })).toMatchObject({ text: 'a$1 $&' })
  })

  it('writes doubled braces as one, and expands escapes that a shell left', () => {
    expect(of('{{{a}}}\\n\\t{{a}}\\\\n\\alpha', { a: 'x' })).toMatchObject({ text: '{x}\n\t{a}\\n\\alpha' })
  })

  it('writes numbers as in their file', () => {
    const json = '{"a": 2.0, "b": 12345678901234567890, "c": true, "1": 0}'
    expect(of('{a} {b} {c}', JSON.parse(json), json)).toMatchObject({ text: '2.0 12345678901234567890 True' })
    expect(of('{a} {b}', { a: 2, b: 0.5 })).toMatchObject({ text: '2 0.5' })
  })

  it('names the line of a row without a column, or without a text in it', () => {
    expect(() => of('{a} {b}', { a: 'x', c: 'y' })).toThrow(
      /^rows\.jsonl:7: the text has the column "b", but the row has a, c\.$/,
    )
    expect(() => of('{toString}', { a: 'x' })).toThrow(/^rows\.jsonl:7: the text has the column "toString"/)
    for (const a of [null, ['x'], {}]) {
      expect(() => of('{a}', { a })).toThrow(/^rows\.jsonl:7: a: expected a text or a number but/)
    }
    expect(() => of('{a}', 'x')).toThrow(/^rows\.jsonl:7: expected an object of columns but received "x"/)
  })

  it.each(['no column', '{{a}}', '{a', 'a}', '{a} {', '{}', '{a}}', ''])('refuses %j', (template) => {
    expect(() => new TextTemplate(template)).toThrow(/Expected a text with columns in braces/)
  })
})
