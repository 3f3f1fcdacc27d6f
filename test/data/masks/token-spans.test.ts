import { describe, expect, it } from 'vitest'
import { tokenSpans } from '../../../lib/data/masks/token-spans.js'
import { tokenizerOf } from '../tokenizer/visible-tokenizer.js'

const REFUSAL = /^row: the tokens of an assistant's turn cannot be told from those around it/

describe('tokenSpans', () => {
  it('reads each letter of a long conversation once', () => {
    const plain = tokenizerOf()
    const turns = 64
    const text = 'Qab<e>Aab<e>'.repeat(turns)
    let letters = 0
    const counted = (piece: string) => {
      letters += piece.length
      return plain.encode(piece)
    }
    const tokenizer = Object.assign(tokenizerOf(), { encode: counted, encodeContinuation: counted })
    const spans = Array.from({ length: turns }, (_, i) => ({ start: 12 * i + 7, end: 12 * i + 12, isOpen: false }))
    const found = tokenSpans(text, plain.encode(text), spans, tokenizer, 'row')
    expect(found).toEqual(spans.map((_, i) => ({ start: 8 * i + 5, end: 8 * i + 8 })))
    expect(letters).toBe(text.length)
  })

  it('refuses a span that does not end with a token that was added, unless it is open', () => {
    const tokenizer = tokenizerOf()
    const spansOf = (isOpen: boolean) =>
      tokenSpans('Aab', tokenizer.encode('Aab'), [{ start: 1, end: 3, isOpen }], tokenizer, 'row')
    expect(spansOf(true)).toEqual([{ start: 1, end: 3 }])
    expect(() => spansOf(false)).toThrow(REFUSAL)
  })

  it('refuses an answer that has tokens of the text before when it stands alone', () => {
    const plain = tokenizerOf({ pieces: ['Xa'] })
    const tokenizer = Object.assign(tokenizerOf({ pieces: ['Xa'] }), {
      encodeContinuation: (text: string) => plain.encode(`QX${text}`),
    })
    const spans = [{ start: 2, end: 8, isOpen: false }]
    expect(() => tokenSpans('QXabc<e>', plain.encode('QXabc<e>'), spans, tokenizer, 'row')).toThrow(REFUSAL)
  })
})
