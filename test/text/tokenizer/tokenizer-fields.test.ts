import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readGguf } from '../../../lib/io/gguf.js'
import { plainMetadata } from '../../../lib/io/gguf-writer.js'
import { tokenizerFromGguf } from '../../../lib/text/tokenizer/from-gguf.js'
import { createTokenizer, loadTokenizer, type Tokenizer } from '../../../lib/text/tokenizer.js'
import { copiedTokenizerFields, tokenizerFields } from '../../../lib/text/tokenizer-fields.js'
import { assetPath, lacksRealModel, REAL_MODEL } from '../../assets.js'
import { needing } from '../../needs.js'
import { smallTokenizerFolder } from './small-tokenizer.js'

const texts = [
  'The river',
  '  two  spaces\n\n',
  'Жизнь 你好 😀 12345',
  "they'll\tnever",
  '<|im_start|>user\nhi<|im_end|>',
  '',
]

const again = (fields: Awaited<ReturnType<typeof tokenizerFields>>): Promise<Tokenizer> =>
  createTokenizer(tokenizerFromGguf(plainMetadata(fields), 'x.gguf')!)

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mora-fields-'))
  await cp(smallTokenizerFolder, folder, { recursive: true })
})
afterAll(() => rm(folder, { recursive: true }))

/** The small tokenizer, splitting words like GPT-2's, with tokenizer.json changed further. */
async function small(change: (json: Record<string, unknown>) => object = (json) => json): Promise<Tokenizer> {
  const json = JSON.parse(await readFile(join(smallTokenizerFolder, 'tokenizer.json'), 'utf8'))
  const preTokenizer = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true }
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(change({ ...json, pre_tokenizer: preTokenizer })))
  return (await loadTokenizer(folder))!
}

describe('a tokenizer in GGUF metadata', () => {
  it('has the ids, special tokens and template of its source', async () => {
    const tokenizer = await small()
    const fields = await tokenizerFields(tokenizer, 512, 'small')
    const copy = await again(fields)
    for (const text of texts) expect(await copy.encodeText(text)).toEqual(await tokenizer.encodeText(text))
    expect([...copy.specialIds].sort()).toEqual([...tokenizer.specialIds].sort())
    expect(copy).toMatchObject({ bosId: tokenizer.bosId, eosId: tokenizer.eosId, padId: tokenizer.padId })
    expect(copy.chatTemplates).toEqual(tokenizer.chatTemplates)
    const tokens = fields.get('tokenizer.ggml.tokens')!.value as string[]
    expect(tokens).toHaveLength(512)
    expect(tokens.slice(502)).toEqual(Array.from({ length: 10 }, (_, i) => `[PAD${502 + i}]`))
  })

  it('keeps templates by their names, also in the files of a folder', async () => {
    await small()
    const templates = { default: 'plain', tool_use: 'tools' }
    const list = Object.entries(templates).map(([name, template]) => ({ name, template }))
    const path = join(folder, 'tokenizer_config.json')
    const config = await readFile(path, 'utf8')
    await writeFile(path, JSON.stringify({ ...JSON.parse(config), chat_template: list }))
    const copy = await again(await tokenizerFields((await loadTokenizer(folder))!, 512, 'small'))
    expect(Object.fromEntries(copy.chatTemplates)).toEqual(templates)
    expect(JSON.parse(copy.files().get('tokenizer_config.json')!).chat_template).toEqual(list)
    await writeFile(path, config)
  })

  it('of SentencePiece ranks tokens as its merges do', async () => {
    const pieces = [
      '<unk>',
      '<s>',
      '</s>',
      ...Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`),
    ]
    const letters = ['\u2581', 'a', 'b', 'c', 'ab', '\u2581ab', 'bc', 'abc']
    const vocab = Object.fromEntries([...pieces, ...letters].map((token, id) => [token, id]))
    const plain = { special: true, normalized: false, single_word: false, lstrip: false, rstrip: false }
    const special = ['<unk>', '<s>', '</s>'].map((content, id) => ({ id, content, ...plain }))
    const json = {
      added_tokens: special,
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'Prepend', prepend: '\u2581' },
          { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
        ],
      },
      pre_tokenizer: null,
      post_processor: { type: 'RobertaProcessing', sep: ['</s>', 2], cls: ['<s>', 1] },
      decoder: null,
      model: {
        type: 'BPE',
        unk_token: '<unk>',
        fuse_unk: true,
        byte_fallback: true,
        vocab,
        merges: [
          ['b', 'c'],
          ['a', 'b'],
          ['a', 'bc'],
          ['ab', 'c'],
          ['\u2581', 'ab'],
        ],
      },
    }
    const tokenizer = await createTokenizer({
      json,
      config: {},
      chatTemplates: new Map(),
      origin: 'pieces',
      specialTokens: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' },
      files: () => new Map([['tokenizer.json', JSON.stringify(json)]]),
    })
    const fields = await tokenizerFields(tokenizer, pieces.length + letters.length, 'pieces')
    const withMerges = await tokenizerFields(tokenizer, pieces.length + letters.length, 'pieces', 'gemma4')
    expect(withMerges.get('tokenizer.ggml.merges')!.value).toHaveLength(json.model.merges.length)
    for (const copy of [await again(fields), await again(withMerges)]) {
      for (const text of ['ab', 'abc', 'ab c', 'é ab', 'bc<s>ab', ''])
        expect(await copy.encodeText(text), text).toEqual(await tokenizer.encodeText(text))
    }
    expect(fields.get('tokenizer.ggml.add_space_prefix')).toMatchObject({ value: true })
    expect(fields.get('tokenizer.ggml.token_type')!.value).toMatchObject({ 0: 2, 1: 3, 3: 6, 259: 1 })
  })

  it('is refused if GGUF has no form for it', async () => {
    const fieldsOf = (tokenizer: Tokenizer, rows = 512) => tokenizerFields(tokenizer, rows, 'small')
    const tokenizer = await small()
    await expect(fieldsOf(tokenizer, 500)).rejects.toThrow(/The tokenizer of small .*502 tokens for 500 embeddings/)
    const split = { type: 'Split', pattern: { Regex: 'x' }, behavior: 'Isolated', invert: false }
    const steps = [split, { type: 'ByteLevel', add_prefix_space: false, use_regex: false, trim_offsets: true }]
    const unknown = await small((json) => ({ ...json, pre_tokenizer: { type: 'Sequence', pretokenizers: steps } }))
    await expect(fieldsOf(unknown)).rejects.toThrow(/no name that is known here/)
    const bare = await small((json) => ({ ...json, pre_tokenizer: null }))
    await expect(fieldsOf(bare)).rejects.toThrow(/neither byte-level tokens nor byte fallback/)
    const lowering = await small((json) => ({ ...json, decoder: null, normalizer: { type: 'Lowercase' } }))
    await expect(fieldsOf(lowering)).rejects.toThrow(/no name that is known here/)
    const unigram = Object.assign(Object.create(tokenizer), {
      files: () => new Map([['tokenizer.json', JSON.stringify({ model: { type: 'Unigram', vocab: [] } })]]),
    }) as Tokenizer
    await expect(fieldsOf(unigram)).rejects.toThrow(/kind Unigram, not BPE/)
    const other = Object.assign(await small(), { encodeText: async () => [1, 2, 3] })
    await expect(fieldsOf(other)).rejects.toThrow(/what GGUF's form of it makes of text differs/)
  })

  needing(lacksRealModel).it('is the same made anew or copied from a real file', async () => {
    const path = assetPath(REAL_MODEL)
    const tokenizer = (await loadTokenizer(path))!
    const made = await tokenizerFields(tokenizer, 49152, 'SmolLM2')
    const { metadata } = await readGguf(path)
    const copied = copiedTokenizerFields(metadata)
    for (const name of ['model', 'pre', 'tokens', 'token_type', 'merges', 'bos_token_id', 'eos_token_id']) {
      expect(made.get(`tokenizer.ggml.${name}`), name).toEqual(copied.get(`tokenizer.ggml.${name}`))
    }
    expect(plainMetadata(copied)).toEqual(new Map([...metadata].filter(([key]) => key.startsWith('tokenizer.'))))
    expect((await again(made)).hash).toBe(tokenizer.hash)
  })
})
