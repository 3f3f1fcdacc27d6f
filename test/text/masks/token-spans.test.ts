import { describe, expect, it } from 'vitest'
import { straddledSpans, tokenSpans } from '../../../lib/text/masks/token-spans.js'
import { tokenizerOf, withPlaces } from '../tokenizer/visible-tokenizer.js'

const REFUSAL = /^row: the tokens of an assistant's turn cannot be distinguished from those around them/

describe('tokenSpans', () => {
  const { addedIds, placed, alone } = tokenizerOf({ pieces: ['Xa', 'c<'] })
  const spansOf = (text: string, start: number, end: number, isOpen = false) => {
    const span = { start, end, isOpen }
    const ids = straddledSpans(placed(text), [span]).map((one) => [one, alone(text.slice(start, end))] as const)
    return tokenSpans(placed(text), [span], new Map(ids), addedIds, 'row')
  }

  it('finds the tokens of each answer', () => {
    const turns = 64
    const tokens = placed('Qab<e>Aab<e>'.repeat(turns))
    const spans = Array.from({ length: turns }, (_, i) => ({ start: 12 * i + 7, end: 12 * i + 12, isOpen: false }))
    expect(tokenSpans(tokens, spans, new Map(), addedIds, 'row')).toEqual(
      spans.map((_, i) => ({ start: 8 * i + 5, end: 8 * i + 8 })),
    )
  })

  it('refuses a span that does not end with a token that was added, unless it is open', () => {
    expect(spansOf('Aab', 1, 3, true)).toEqual([{ start: 1, end: 3 }])
    expect(() => spansOf('Aab', 1, 3)).toThrow(REFUSAL)
  })

  it('names the token that should end a span and is not found there', () => {
    const span = { start: 1, end: 6, isOpen: false, token: '</s>' }
    expect(() => tokenSpans(placed('Aa</s>'), [span], new Map(), addedIds, 'row')).toThrow(
      /^row: the tokenizer does not find "<\/s>", which ends an assistant's turn, .*"normalized": true .* set that to false, or train/,
    )
  })

  it('leaves out a token that straddles the start of an answer', () => {
    expect(spansOf('QXabd<e>', 2, 8)).toEqual([{ start: 2, end: 5 }])
  })

  it('refuses an answer whose end a token straddles, and one without tokens', () => {
    expect(() => spansOf('Aabc<e>', 1, 4, true)).toThrow(REFUSAL)
    expect(() => spansOf('QXa<e>', 2, 3, true)).toThrow(REFUSAL)
  })

  it('takes all tokens that make one character', () => {
    const tokens = withPlaces({ ids: [7, 8, 9, 0], starts: [0, 1, 1, 2], ends: [1, 2, 2, 5] })
    expect(tokenSpans(tokens, [{ start: 1, end: 5, isOpen: false }], new Map(), new Set([0]), 'row')).toEqual([
      { start: 1, end: 4 },
    ])
  })
})
