/** Merges are those of the engine. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Tokenizer as Engine } from '@huggingface/tokenizers'
import { describe, expect, test } from 'vitest'
import { randomStream } from '../../../lib/common/random.js'
import { mergesOf, type Vocabulary } from '../../../lib/data/tokenizer/merges.js'
import { loadSmallTokenizer, smallTokenizerFolder } from './small-tokenizer.js'

const json = JSON.parse(readFileSync(join(smallTokenizerFolder, 'tokenizer.json'), 'utf8')) as {
  model: { merges: (string | [string, string])[] }
}
const { merges } = json.model
const engine = new Engine(json, {}).model as unknown as Vocabulary & { bpe(word: string): string[] }
/** Symbols that are no tokens. */
const nothing: Vocabulary = { vocab: [], tokens_to_ids: new Map() }

describe('byte-pair merges', () => {
  test.each(Array.from({ length: 40 }, (_, seed) => seed))('of random words are the engine’s, seed %i', (seed) => {
    const random = randomStream(seed, 'long words')
    const letters = seed % 2 === 0 ? 'aehinrst' : 'abcdefghijklmnopqrstuvwxyzĠé漢😀'
    const alphabet = Array.from(letters).slice(0, 1 + random.integer(letters.length))
    const word = Array.from({ length: 1 + random.integer(700) }, () => alphabet[random.integer(alphabet.length)])
    const expected = engine.bpe(word.join(''))
    expect(mergesOf(merges, engine)(word.join(''))).toEqual(expected)
    expect(mergesOf(merges, nothing)(word.join(''))).toEqual(expected)
  })

  test('join the leftmost of equal pairs first', () => {
    const merge = mergesOf([['a', 'a'], 'aa a'], nothing)
    expect(merge('aaaaa')).toEqual(['aa', 'aaa'])
    expect(merge('aaa')).toEqual(['aaa'])
    expect(merge('')).toEqual([])
  })

  test('count the last of two equal pairs', () => {
    const merge = mergesOf(['a b', 'b c', 'a b'], nothing)
    expect(merge('abc')).toEqual(['a', 'bc'])
  })

  test('are what a tokenizer gives for a long word', async () => {
    const tokenizer = await loadSmallTokenizer()
    const word = 'theandofto'.repeat(100)
    const plain = new Engine(json, {})
    expect(tokenizer.encode(word)).toEqual(plain.encode(word, { add_special_tokens: false }).ids)
    expect(tokenizer.decode(tokenizer.encode(word))).toBe(word)
  })
})
