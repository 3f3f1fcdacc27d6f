/** Ids and texts equal those of Hugging Face's library, for texts that distinguish tokenizers. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, test } from 'vitest'
import { createTokenizer, loadTokenizer, type Tokenizer } from '../../../lib/text/tokenizer.js'
import { assetPath, lacksRealModel, REAL_MODEL } from '../../assets.js'
import { describeGolden, goldenJson, lacksGolden } from '../../golden/files.js'
import { needing } from '../../needs.js'

interface Case {
  text: string
  ids: number[]
  decoded: string
}

async function compare(tokenizer: Tokenizer, cases: readonly Case[]): Promise<void> {
  expect(cases).toHaveLength(302)
  const ids = await Promise.all(cases.map(({ text }) => tokenizer.encode(text)))
  const decoded = await Promise.all(cases.map((one) => tokenizer.decode(one.ids)))
  expect(cases.map(({ text }, i) => ({ text, ids: ids[i], decoded: decoded[i] }))).toEqual(cases)
  if (tokenizer.tokenBytes) expect(cases.map((one) => textOfBytes(tokenizer, one.ids))).toEqual(decoded)
}

function textOfBytes({ tokenBytes }: Tokenizer, ids: readonly number[]): string {
  const text = Buffer.concat(ids.map((id) => tokenBytes!.of(id))).toString()
  return tokenBytes!.dropsSpace ? text.replace(/^ /, '') : text
}

const kinds = [
  'gpt2',
  'digits',
  'llama3',
  'qwen',
  'sentencepiece',
  'sentencepiece-no-unk',
  'unigram',
  'wordpiece',
  'plain',
]
describeGolden('tokenizers', kinds, (kind, path) => {
  test('texts as ids, and ids as texts', async () => {
    const tokenizer = (await loadTokenizer(path))!
    await compare(tokenizer, JSON.parse(readFileSync(join(path, 'cases.json'), 'utf8')))
    const joins = ['unigram', 'wordpiece', 'plain'].includes(kind)
    expect(tokenizer.tokenBytes === null, 'whether the text of its tokens depends on their neighbours').toBe(joins)
  })
})

needing(lacksRealModel, lacksGolden('tokenizers/smollm2.json')).test('SmolLM2 out of its GGUF', async () => {
  await compare((await loadTokenizer(assetPath(REAL_MODEL)))!, goldenJson('tokenizers/smollm2.json'))
})

describe('the smallest texts', () => {
  const added = (content: string, id: number, more: object = {}) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
    ...more,
  })
  const tokenizer = (parts: object): Promise<Tokenizer> => {
    const json = { version: '1.0', added_tokens: [], normalizer: null, pre_tokenizer: null, decoder: null, ...parts }
    const files = () => new Map<string, string>()
    return createTokenizer({ json, config: {}, specialTokens: {}, chatTemplates: new Map(), origin: 'm', files })
  }
  const idsOf = async (parts: object, text: string) => (await tokenizer(parts)).encode(text)
  const bpe = (vocab: Record<string, number>, merges: string[] = [], more: object = {}) => ({
    type: 'BPE',
    vocab,
    merges,
    ...more,
  })

  it('Digits matches all numbers of Unicode', async () => {
    const model = bpe({ ' ': 0, '½': 1, ' ½': 2, a: 3 }, [])
    const merging = { ...model, merges: [[' ', '½']] }
    expect(await idsOf({ pre_tokenizer: { type: 'Digits', individual_digits: true }, model: merging }, ' ½')).toEqual([
      0, 1,
    ])
    expect(await idsOf({ model: merging }, ' ½')).toEqual([2])
  })

  it('white space is Rust’s: U+0085, and not U+FEFF', async () => {
    const parts = { pre_tokenizer: { type: 'Whitespace' }, model: bpe({ a: 0, '\ufeff': 1, '\u0085': 2 }) }
    expect(await idsOf(parts, 'a\ufeff')).toEqual([0, 1])
    expect(await idsOf(parts, 'a\u0085')).toEqual([0])
  })

  it('bytes are decoded together, with one U+FFFD for each of an invalid run', async () => {
    const bytes = Object.fromEntries(['EF', 'BB', 'BF', 'E5'].map((byte, id) => [`<0x${byte}>`, id]))
    const decoding = await tokenizer({ decoder: { type: 'ByteFallback' }, model: bpe(bytes) })
    expect(await decoding.decode([0, 1, 2])).toBe('\ufeff')
    expect(await decoding.decode([3, 1])).toBe('\ufffd\ufffd')
  })

  it('BPE without an unknown token drops unknown characters before it merges', async () => {
    expect(await idsOf({ model: bpe({ d: 0, a: 1, da: 2 }, ['d a']) }, 'dža')).toEqual([2])
  })

  it('a normalised added token is matched in its normalised form', async () => {
    const normalizers = [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ]
    const parts = {
      added_tokens: [added('<s>', 1, { normalized: true })],
      normalizer: { type: 'Sequence', normalizers },
      model: bpe({ '▁': 0, '<s>': 1, '<': 2, s: 3, '>': 4 }),
    }
    expect(await idsOf(parts, '<s><s>')).toEqual([1, 2, 3, 4])
  })

  it('white space that an added token takes with it is not part of its place', async () => {
    const taking = added('<e>', 2, { lstrip: true, rstrip: true })
    const made = await tokenizer({
      added_tokens: [taking],
      model: bpe({ a: 0, b: 1, '<e>': 2, '🦊': 3, '\n': 4, ' ': 5 }),
    })
    const { ids, starts, ends } = await made.encodeWithPlaces('🦊a <e>\n b')
    expect(ids.map((id, i) => [id, starts[i], ends[i]])).toEqual([
      [3, 0, 2],
      [0, 2, 3],
      [2, 4, 7],
      [1, 9, 10],
    ])
  })

  it('a model without a type may be Unigram', async () => {
    expect(
      await idsOf(
        {
          model: {
            unk_id: 0,
            vocab: [
              ['<unk>', 0],
              ['a', -1],
              ['b', -1],
              ['ab', -1],
            ],
          },
        },
        'aab',
      ),
    ).toEqual([1, 3])
  })

  it('WordPiece cuts between characters of all planes of CJK, and has no final sigma', async () => {
    const parts = {
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: null,
        lowercase: true,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      model: {
        type: 'WordPiece',
        vocab: { '[UNK]': 0, x: 1, 𠮷: 2, ασ: 3 },
        unk_token: '[UNK]',
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
      },
    }
    expect(await idsOf(parts, 'X𠮷x')).toEqual([1, 2, 1])
    expect(await idsOf(parts, 'ΑΣ')).toEqual([3])
  })
})
