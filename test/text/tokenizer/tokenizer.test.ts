import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { speaking } from '../../../lib/common/option-names.js'
import { tokenizerFromGguf } from '../../../lib/text/tokenizer/from-gguf.js'
import type { TokenizerSource } from '../../../lib/text/tokenizer/tokenizer-json.js'
import { createTokenizer, loadTokenizer, type Tokenizer } from '../../../lib/text/tokenizer.js'
import { loadSmallTokenizer, smallTokenizerFolder } from './small-tokenizer.js'

let folder: string
let tokenizer: Tokenizer
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mora-tokenizer-'))
  tokenizer = await loadSmallTokenizer()
})
afterAll(() => rm(folder, { recursive: true }))

describe('a tokenizer folder', () => {
  it('decodes every text that it encodes', async () => {
    for (const text of [
      'The river',
      '  two  spaces\n\n\n',
      'Жизнь 你好 😀',
      "they'll\tnever",
      '<|im_start|>user\n',
      '',
    ]) {
      expect(await tokenizer.decode(await tokenizer.encode(text))).toBe(text)
    }
  })

  it('parses special tokens inside text and adds none', async () => {
    const ids = await tokenizer.encode('<|im_start|>user')
    expect(ids[0]).toBe(tokenizer.idOf('<|im_start|>'))
    expect(ids).not.toContain(tokenizer.bosId)
  })

  it('accepts a word of any length', async () => {
    for (const word of ['a'.repeat(2 ** 20), 'theandofto'.repeat(2 ** 14)])
      expect(await tokenizer.decode(await tokenizer.encode(word))).toBe(word)
  })

  it('says where in a text each token comes from, in UTF-16 units', async () => {
    const text = '🦊é <|im_end|>the'
    const { ids, starts, ends } = await tokenizer.encodeWithPlaces(text)
    expect(ids).toEqual(await tokenizer.encode(text))
    const places = ids.map((_, i) => text.slice(starts[i], ends[i]))
    expect([...new Set(places)].join('|')).toBe('🦊|é| |<|im_end|>|the')
  })

  it('T11 adds BOS by the rule of the post-processor, once', async () => {
    const ids = await tokenizer.encode('river')
    expect(await tokenizer.encodeText('river')).toEqual([tokenizer.bosId, ...ids])
    expect(await tokenizer.encodeText('<|begin|>river')).toEqual([tokenizer.bosId, ...ids])
  })

  // DeepSeek V3 has add_bos_token: true and a post-processor that adds none.
  it.each([true, false])(
    'does not follow add_bos_token (%s) of a folder, as transformers 5 does not',
    async (added) => {
      await cp(smallTokenizerFolder, folder, { recursive: true })
      const edit = async (name: string, entries: object) => {
        const path = join(folder, name)
        await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), ...entries }))
      }
      await edit('tokenizer_config.json', { add_bos_token: added })
      const other = (await loadTokenizer(folder))!
      expect(await other.encodeText('river')).toEqual(await tokenizer.encodeText('river'))
      await edit('tokenizer.json', { post_processor: null })
      const without = (await loadTokenizer(folder))!
      expect(await without.encodeText('river')).toEqual(await tokenizer.encode('river'))
      expect(without.hash).not.toBe(tokenizer.hash)
    },
  )

  it('knows its special tokens', async () => {
    expect(tokenizer.bosToken).toBe('<|begin|>')
    expect(tokenizer.eosId).toBe(1)
    expect(tokenizer.padId).toBe(1)
    expect(tokenizer.vocabularySize).toBe(502)
    const ids = await tokenizer.encode('<|im_start|>hi<|im_end|>')
    expect(await tokenizer.decode(ids, { skipSpecialTokens: true })).toBe('hi')
  })

  it('decodes nothing to the empty string and skips ids without a token', async () => {
    expect(await tokenizer.decode([])).toBe('')
    expect(await tokenizer.decode([99999])).toBe('')
  })

  it('writes files that load to the same tokenizer', async () => {
    const copy = await mkdtemp(join(tmpdir(), 'mora-tokenizer-'))
    for (const [name, text] of tokenizer.files()) await writeFile(join(copy, name), text)
    expect((await loadTokenizer(copy))!.hash).toBe(tokenizer.hash)
    await rm(copy, { recursive: true })
  })

  it('is null if there is none, and an error if it has another format', async () => {
    const empty = await mkdtemp(join(tmpdir(), 'mora-tokenizer-'))
    expect(await loadTokenizer(empty)).toBeNull()
    await writeFile(join(empty, 'tokenizer.model'), '')
    await expect(loadTokenizer(empty)).rejects.toThrow(/tokenizer\.model but no tokenizer\.json/)
    await expect(loadTokenizer(join(empty, 'absent'))).rejects.toThrow(/neither a folder nor a \.gguf file/)
    await rm(empty, { recursive: true })
  })

  it('uses the template called default of a list, and chat_template.jinja first of all', async () => {
    await cp(smallTokenizerFolder, folder, { recursive: true })
    const path = join(folder, 'tokenizer_config.json')
    const config = JSON.parse(await readFile(path, 'utf8'))
    const named = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: 'plain {{ messages[0].content }}' },
    ]
    await writeFile(path, JSON.stringify({ ...config, chat_template: named }))
    const messages = [{ role: 'user', content: 'x' }]
    const render = async () => (await loadTokenizer(folder))!.renderChat(messages, { addGenerationPrompt: false })
    expect(await render()).toBe('plain x')
    await writeFile(join(folder, 'chat_template.jinja'), 'file {{ messages[0].content }}')
    expect(await render()).toBe('file x')
    await rm(join(folder, 'chat_template.jinja'))
  })

  it('uses the template called tool_use for conversations with tools, from a list or a file of that name', async () => {
    await cp(smallTokenizerFolder, folder, { recursive: true })
    const path = join(folder, 'tokenizer_config.json')
    const config = JSON.parse(await readFile(path, 'utf8'))
    const render = async (tools?: unknown[]) =>
      (await loadTokenizer(folder))!.renderChat([{ role: 'user', content: 'x' }], { tools, addGenerationPrompt: false })
    const named = (...names: string[]) => names.map((name) => ({ name, template: `${name} {{ tools | tojson }}` }))
    await writeFile(path, JSON.stringify({ ...config, chat_template: named('tool_use', 'rag', 'default') }))
    expect([await render(), await render([1])]).toEqual(['default null', 'tool_use [1]'])
    await writeFile(path, JSON.stringify({ ...config, chat_template: named('tool_use', 'rag') }))
    expect(await render([1])).toBe('tool_use [1]')
    await expect(render()).rejects.toThrow(/has several chat templates and none named default.*\(the option template\)/)
    await expect(speaking('flags', () => render())).rejects.toThrow(/name a template file \(--template\)/)
    await writeFile(path, JSON.stringify({ ...config, chat_template: 'one' }))
    expect(await render([1])).toBe('one')
    await mkdir(join(folder, 'additional_chat_templates'))
    await writeFile(join(folder, 'additional_chat_templates', 'tool_use.jinja'), 'file')
    expect([await render(), await render([1])]).toEqual(['one', 'file'])
    const tokenizer = (await loadTokenizer(folder))!
    expect([...tokenizer.files().keys()]).toContain('additional_chat_templates/tool_use.jinja')
    await rm(join(folder, 'additional_chat_templates'), { recursive: true })
  })

  it('splits in each way that the library supports', async () => {
    const json = JSON.parse(await readFile(join(smallTokenizerFolder, 'tokenizer.json'), 'utf8'))
    json.pre_tokenizer.pretokenizers[0] = {
      type: 'Split',
      pattern: { String: 'h' },
      behavior: 'MergedWithNext',
      invert: false,
    }
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(json))
    const split = (await loadTokenizer(folder))!
    expect((await split.encode('the')).map((id) => split.tokenOf(id))).toEqual(['t', 'he'])
  })
})

describe('a GGUF tokenizer', () => {
  const byteLevel = async (pre: string) => {
    const { model } = JSON.parse(await readFile(join(smallTokenizerFolder, 'tokenizer.json'), 'utf8'))
    const tokens: string[] = []
    for (const [token, id] of Object.entries<number>(model.vocab)) tokens[id] = token
    return new Map<string, unknown>([
      ['tokenizer.ggml.model', 'gpt2'],
      ['tokenizer.ggml.pre', pre],
      ['tokenizer.ggml.tokens', tokens],
      ['tokenizer.ggml.token_type', tokens.map((_, id) => (id < 5 ? 3 : 1))],
      ['tokenizer.ggml.merges', model.merges],
      ['tokenizer.ggml.bos_token_id', 0],
      ['tokenizer.ggml.eos_token_id', 1],
      ['tokenizer.ggml.add_bos_token', true],
    ])
  }

  it('has the ids of the tokenizer.json that it was made from', async () => {
    const fromGguf = await createTokenizer(tokenizerFromGguf(await byteLevel('qwen2'), 'm.gguf')!)
    for (const text of ["The river's 405 boats\n\n\n and <|im_end|> more", 'She said: "they\'d"', '  x\r\n']) {
      expect(await fromGguf.encodeText(text)).toEqual(await tokenizer.encodeText(text))
    }
  })

  it('cuts numbers as the named pre-tokenizer does', async () => {
    const words = async (pre: string) => {
      const source = tokenizerFromGguf(await byteLevel(pre), 'm.gguf')!
      const model = source.json.model as { merges: string[] }
      model.merges.push('1 0', '10 0', '100 0', 'Ġ 1')
      Object.assign(model, {
        vocab: { ...(source.json.model as { vocab: object }).vocab, 10: 600, 100: 601, 1000: 602, Ġ1: 603 },
      })
      const made = await createTokenizer(source)
      return (await made.encode('a 1000')).map((id) => made.tokenOf(id))
    }
    expect(await words('smollm')).toEqual(['a', 'Ġ', '1', '0', '0', '0'])
    expect(await words('llama-bpe')).toEqual(['a', 'Ġ', '100', '0'])
    expect(await words('lfm2')).toEqual(await words('llama-bpe'))
    expect(await words('qwen2')).toEqual(['a', 'Ġ', '1', '0', '0', '0'])
    expect(await words('qwen35')).toEqual(await words('qwen2'))
    expect(await words('gpt-2')).toEqual(['a', 'Ġ', '1000'])
  })

  it('refuses an unknown pre-tokenizer or kind by name', async () => {
    const metadata = await byteLevel('dialect-7')
    expect(() => tokenizerFromGguf(metadata, 'm.gguf')).toThrow(/m\.gguf names the pre-tokenizer "dialect-7"/)
    expect(() => tokenizerFromGguf(new Map([...metadata, ['tokenizer.ggml.model', 't5']]), 'm.gguf')).toThrow(
      /kind "t5"/,
    )
    expect(tokenizerFromGguf(new Map(), 'm.gguf')).toBeNull()
  })

  const sentencePiece = () => {
    const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`)
    const pieces = ['▁', 't', 'h', 'e', 'r', 'n', '▁t', 'he', '▁the', 're', '▁▁', 'en']
    const tokens = ['<unk>', '<s>', '</s>', ...bytes, ...pieces]
    return new Map<string, unknown>([
      ['tokenizer.ggml.model', 'llama'],
      ['tokenizer.ggml.tokens', tokens],
      ['tokenizer.ggml.token_type', tokens.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1))],
      // Later pieces score better.
      ['tokenizer.ggml.scores', tokens.map((_, id) => (id < 259 ? 0 : id - 1000))],
    ])
  }

  it('refuses pieces too long for their merges to be derived', () => {
    const metadata = sentencePiece()
    const tokens = metadata.get('tokenizer.ggml.tokens') as string[]
    const withLast = (piece: string) =>
      new Map([...metadata, ['tokenizer.ggml.tokens', [...tokens.slice(0, -1), piece]]])
    expect(tokenizerFromGguf(withLast('t'.repeat(256)), 'm.gguf')).not.toBeNull()
    expect(() => tokenizerFromGguf(withLast('t'.repeat(257)), 'm.gguf')).toThrow(/^m\.gguf: a token of 257 characters/)
  })

  it('merges SentencePiece pieces by score, falls back to bytes and adds the leading space', async () => {
    const made = await createTokenizer(tokenizerFromGguf(sentencePiece(), 'm.gguf')!)
    const tokens = (ids: number[]) => ids.map((id) => made.tokenOf(id))
    expect(tokens(await made.encode('the then'))).toEqual(['▁the', '▁t', 'h', 'en'])
    expect(tokens(await made.encodeContinuation('the'))).toEqual(['t', 'he'])
    expect(tokens(await made.encode('é'))).toEqual(['▁', '<0xC3>', '<0xA9>'])
    expect(tokens(await made.encodeText('the</s>'))).toEqual(['<s>', '▁the', '</s>'])
    expect(await made.decode(await made.encode('the é then'))).toBe('the é then')
  })

  it('encodes a long text of SentencePiece in pieces with the ids of the whole', async () => {
    const source = tokenizerFromGguf(sentencePiece(), 'm.gguf')!
    const made = await createTokenizer(source)
    // With the end-of-word suffix of no token, the cuts are off.
    const whole = await createTokenizer({
      ...source,
      json: {
        ...source.json,
        model: { ...(source.json.model as object), byte_fallback: false, unk_token: '<unk>', fuse_unk: false },
      },
    })
    const words = ['the', 'then', 'there', 'her', '  ', 'rent', 'ethen']
    const text = Array.from({ length: 300 }, (_, i) => words[(i * i + 3 * i) % 7]).join(' ')
    expect(await made.encode(text)).toEqual(await whole.encode(text))
  })
})

describe('a tokenizer.json that is not one', () => {
  type Json = Record<string, unknown>
  const sourceOf = async (change: (json: Json) => void): Promise<TokenizerSource> => {
    const json = JSON.parse(await readFile(join(smallTokenizerFolder, 'tokenizer.json'), 'utf8')) as Json
    change(json)
    return {
      json,
      config: {},
      specialTokens: {},
      chatTemplates: new Map(),
      origin: 'model-x',
      files: () => new Map<string, string>(),
    }
  }
  const model = (json: Json) => json.model as Json

  it.each<[string, (json: Json) => void, RegExp]>([
    ['an unknown part', (json) => Object.assign(json, { normalizer: { type: 'X' } }), /NormalizerUntagged/],
    ['a part without a type', (json) => Object.assign(json, { decoder: {} }), /decoder/i],
    ['no model', (json) => Object.assign(json, { model: null }), /model/i],
    ['ids that are none', (json) => Object.assign(model(json), { vocab: { a: 2 ** 40 } }), /expected u32/],
    ['merges that are none', (json) => Object.assign(model(json), { merges: [7] }), /merge/i],
    ['merges of no tokens', (json) => Object.assign(model(json), { merges: ['é é'] }), /out of vocabulary/],
    [
      'a regular expression that is none',
      (json) =>
        Object.assign(json, {
          pre_tokenizer: { type: 'Split', pattern: { Regex: '((' }, behavior: 'Isolated', invert: false },
        }),
      /pattern/,
    ],
  ])('is refused: %s', async (_, change, message) => {
    const source = await sourceOf(change)
    await expect(createTokenizer(source)).rejects.toThrow(/model-x/)
    await expect(createTokenizer(source)).rejects.toThrow(message)
  })

  it('is refused if a special token is not in its vocabulary', async () => {
    const source = { ...(await sourceOf(() => {})), specialTokens: { eos_token: '<none>' } }
    await expect(createTokenizer(source)).rejects.toThrow(/model-x: its eos_token "<none>" is not in the vocabulary/)
  })

  it.each([{ type: 'Future' }, { type: 'TemplateProcessing' }, {}, 'x'])(
    'is refused with a post-processor of no known kind: %j',
    async (processor) => {
      const source = await sourceOf((json) => Object.assign(json, { post_processor: processor }))
      await expect(createTokenizer(source)).rejects.toThrow(/model-x: post_processor .* is of no known kind\./)
    },
  )

  it.each<[string, (json: Json) => unknown, RegExp]>([
    [
      'a dropout that is no probability',
      (json) => Object.assign(json.model as Json, { dropout: 'a tenth' }),
      /model-x: expected null or a number from 0 to 1 for the model's dropout but found "a tenth"\./,
    ],
    [
      'added tokens that are no list',
      (json) => Object.assign(json, { added_tokens: { 0: '<|end|>' } }),
      /model-x: expected a list of tokens for added_tokens but found \{/,
    ],
  ])('is refused with %s', async (_, change, message) => {
    await expect(createTokenizer(await sourceOf(change))).rejects.toThrow(message)
  })

  it('adds the tokens that its post-processor puts before a text, of whichever kind', async () => {
    const first = async (processor: Json) => {
      const source = await sourceOf((json) => Object.assign(json, { post_processor: processor }))
      const made = await createTokenizer(source)
      return (await made.encodeText('river')).length - (await made.encode('river')).length
    }
    const roberta = { type: 'RobertaProcessing', sep: ['<|end|>', 1], cls: ['<|begin|>', 0] }
    expect(await first(roberta)).toBe(1)
    expect(await first({ type: 'Sequence', processors: [{ type: 'ByteLevel' }, roberta] })).toBe(1)
    expect(await first({ type: 'ByteLevel' })).toBe(0)
  })

  it('is named when a conversation has no template', async () => {
    const made = await createTokenizer(await sourceOf(() => {}))
    await expect(made.renderChat([], { addGenerationPrompt: false })).rejects.toThrow(
      /has no chat template; name a template/,
    )
  })

  it('is named when a text cannot be encoded with it', async () => {
    const letters = { type: 'Unigram', vocab: [['a', -1]], unk_id: null }
    const source = await sourceOf((json) => Object.assign(json, { pre_tokenizer: null, model: letters }))
    await expect((await createTokenizer(source)).encode('你')).rejects.toThrow(
      /model-x cannot encode this text: .*unknown token/,
    )
  })
})
