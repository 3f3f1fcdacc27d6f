import { describe, expect, it } from 'vitest'
import { textWindows } from '../../lib/eval/rows.js'

const ids = (length: number) => Int32Array.from({ length }, (_, i) => i)
const shape = (length: number, window: number, stride: number) =>
  [...textWindows(ids(length), { window, stride })].map(({ ids, mask, newTokens }) => ({
    tokens: [ids[0], ids.at(-1)],
    targets: [...ids].filter((_, i) => mask[i] === 1),
    newTokens,
  }))

describe('textWindows', () => {
  it('without overlap, the first token of each window is context', () => {
    expect(shape(7, 3, 3)).toEqual([
      { tokens: [0, 2], targets: [1, 2], newTokens: 3 },
      { tokens: [3, 5], targets: [4, 5], newTokens: 3 },
    ])
  })

  it('with overlap, every token but the first of the text is a target, once', () => {
    const windows = shape(9, 4, 2)
    expect(windows.map(({ tokens }) => tokens)).toEqual([
      [0, 3],
      [2, 5],
      [4, 7],
      [6, 8],
    ])
    expect(windows.flatMap(({ targets }) => targets)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(windows.map(({ newTokens }) => newTokens)).toEqual([4, 2, 2, 1])
  })

  it('takes a short text in one window, and nothing of a single token', () => {
    expect(shape(2, 100, 50)).toEqual([{ tokens: [0, 1], targets: [1], newTokens: 2 }])
    expect(shape(1, 100, 50)).toEqual([])
  })
})
