import { describe, expect, it } from 'vitest'
import { checkTokenizerJson } from '../../../lib/data/tokenizer/schema.js'

const json = {
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  model: { type: 'BPE', vocab: {}, merges: [] },
}

describe('a tokenizer.json', () => {
  const steps = (count: number) => ({
    type: 'Sequence',
    normalizers: Array.from({ length: count }, () => ({ type: 'Prepend', prepend: 'x' })),
  })

  it('has as many steps as any tokenizer needs, and not so many that they take all time', () => {
    checkTokenizerJson({ ...json, normalizer: steps(200) }, 'x')
    const nested = { type: 'Sequence', normalizers: [steps(200), steps(200)] }
    for (const normalizer of [steps(20_000), nested]) {
      expect(() => checkTokenizerJson({ ...json, normalizer }, 'x')).toThrow(
        'The tokenizer.json of x is malformed: normalizer: expected at most 256 steps.',
      )
    }
  })

  it('has added tokens of a bounded length together', () => {
    const tokens = (count: number, length: number) =>
      Array.from({ length: count }, (_, id) => ({ id, content: String(id).padEnd(length, 'x') }))
    checkTokenizerJson({ ...json, added_tokens: tokens(30_000, 30) }, 'x')
    expect(() => checkTokenizerJson({ ...json, added_tokens: tokens(3000, 4000) }, 'x')).toThrow(
      'The tokenizer.json of x is malformed: added_tokens: expected at most 1048576 characters in all.',
    )
  })
})
