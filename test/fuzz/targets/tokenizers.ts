/** A tokenizer of each kind, as tokenizer.json. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { smallTokenizerFolder } from '../../text/tokenizer/small-tokenizer.js'

type Json = Record<string, unknown>

const SPACE = '▁'
const marked = (content: string, id: number) => ({
  id,
  content,
  special: true,
  normalized: false,
  single_word: false,
  lstrip: false,
  rstrip: false,
})
const step = (type: string, fields: object = {}) => ({ type, ...fields })

/** Byte-level BPE that splits words as GPT-2 does, for which GGUF has a name. */
export function byteLevel(): Json {
  const json = JSON.parse(readFileSync(join(smallTokenizerFolder, 'tokenizer.json'), 'utf8')) as Json
  return { ...json, pre_tokenizer: step('ByteLevel', { add_prefix_space: false, trim_offsets: true, use_regex: true }) }
}

/** The same with regular expressions of its own. */
export const splitting = (): Json => ({
  ...byteLevel(),
  normalizer: step('Sequence', {
    normalizers: [step('NFC'), step('Replace', { pattern: { Regex: ' {2,}' }, content: ' ' })],
  }),
  pre_tokenizer: step('Sequence', {
    pretokenizers: [
      step('Split', { pattern: { Regex: '\\w+|[^\\w\\s]+|\\s+' }, behavior: 'Isolated', invert: false }),
      step('Digits', { individual_digits: true }),
      step('ByteLevel', { add_prefix_space: false, trim_offsets: true, use_regex: false }),
    ],
  }),
})

const letters = [...` abcdefghijklmnopqrstuvwxyzHW,!12345${SPACE}`, 'he', 'll']
const vocab = Object.fromEntries(['<unk>', '<s>', '</s>', ...letters].map((token, id) => [token, id]))
const base = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: ['<unk>', '<s>', '</s>'].map(marked),
  normalizer: null,
  post_processor: null,
}

export const sentencePiece = (): Json => ({
  ...base,
  normalizer: step('Sequence', {
    normalizers: [step('Prepend', { prepend: SPACE }), step('Replace', { pattern: { String: ' ' }, content: SPACE })],
  }),
  pre_tokenizer: null,
  decoder: step('Sequence', {
    decoders: [
      step('Replace', { pattern: { String: SPACE }, content: ' ' }),
      step('ByteFallback'),
      step('Fuse'),
      step('Strip', { content: ' ', start: 1, stop: 0 }),
    ],
  }),
  model: step('BPE', { vocab, merges: ['h e', 'l l'], byte_fallback: true, unk_token: '<unk>', fuse_unk: true }),
})

const spaces = step('Metaspace', { replacement: SPACE, prepend_scheme: 'first', split: true })

export const unigram = (): Json => ({
  ...base,
  normalizer: step('NFKC'),
  pre_tokenizer: spaces,
  decoder: spaces,
  model: step('Unigram', { unk_id: 0, vocab: Object.keys(vocab).map((token, i) => [token, -i / 10]) }),
})

export const wordPiece = (): Json => ({
  ...base,
  normalizer: step('BertNormalizer', {
    lowercase: true,
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
  }),
  pre_tokenizer: step('BertPreTokenizer'),
  post_processor: step('BertProcessing', { sep: ['</s>', 2], cls: ['<s>', 1] }),
  decoder: step('WordPiece', { prefix: '##', cleanup: true }),
  model: step('WordPiece', {
    unk_token: '<unk>',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab,
  }),
})

const tokens = (bos: string, eos: string) => ({ bos_token: bos, eos_token: { content: eos }, add_bos_token: true })

/** tokenizer_config.json beside each of them. */
export const configOf = (json: Json): Json =>
  JSON.stringify(json.added_tokens).includes('<s>') ? tokens('<s>', '</s>') : tokens('<|begin|>', '<|end|>')
