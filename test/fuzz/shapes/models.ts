/** Headers of weights, and tokenizers. */
import { join } from 'node:path'
import { readAdapterFolder } from '../../../lib/adapters/files/adapter-folder.js'
import { readGguf } from '../../../lib/io/gguf.js'
import { readSafetensorsHeader } from '../../../lib/io/safetensors.js'
import { loadTokenizer } from '../../../lib/text/tokenizer.js'
import { array, ggufBytes, text as ggufText } from '../../io/gguf-bytes.js'
import { byteLevel, sentencePiece, unigram } from '../targets/tokenizers.js'
import { json, numbered, repeated, type Shape, shapes } from './shape.js'

function safetensors(header: string): Uint8Array {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)))
  return Buffer.concat([length, Buffer.from(header)])
}

const nothing = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'

export const ofSafetensors = shapes(
  'safetensors',
  'a.safetensors',
  (folder) => readSafetensorsHeader(join(folder, 'a.safetensors')),
  {
    tensors: (bytes) => safetensors(`{${numbered(bytes, (i) => `"t${i}":${nothing}`, ',')}}`),
    'a long name': (bytes) => safetensors(`{"${repeated('a', bytes)}":${nothing}}`),
    'a long name that is wrong': (bytes) => safetensors(`{"${repeated('a', bytes)}":1}`),
    metadata: (bytes) => safetensors(`{"__metadata__":{${numbered(bytes, (i) => `"k${i}":""`, ',')}}}`),
    dimensions: (bytes) =>
      safetensors(`{"a":{"dtype":"F32","shape":[${repeated('1,', bytes)}0],"data_offsets":[0,0]}}`),
  },
)

const ofAdapter = (shape: string, name: (i: number) => string): Shape => ({
  name: `adapter: ${shape}`,
  files: (bytes) => ({
    'adapter_config.json': json({ peft_type: 'LORA', r: 1, lora_alpha: 1, target_modules: ['q'] }),
    'adapter_model.safetensors': safetensors(
      `{${numbered(bytes, (i) => `"base_model.model.${name(i)}":${nothing}`, ',')}}`,
    ),
  }),
  read: (folder) => readAdapterFolder(folder),
})

export const ofAdapters = [
  ofAdapter('layers', (i) => `l${i}.q.lora_A.weight`),
  ofAdapter('tables', (i) => `l${i}.lm_head.weight`),
]

const readModelGguf = async (folder: string) => {
  await readGguf(join(folder, 'a.gguf'))
  await loadTokenizer(join(folder, 'a.gguf'))
}
export const long = (bytes: number) => repeated('a', bytes)
export const many = <Part>(count: number, part: (i: number) => Part) => Array.from({ length: count }, (_, i) => part(i))

/** A tokenizer of these tokens, of the kind whose merges are derived from scores. */
const llamaGguf = (tokens: string[]) =>
  ggufBytes({
    metadata: [
      ['tokenizer.ggml.model', ggufText('llama')],
      ['tokenizer.ggml.tokens', array(8, tokens.map(ggufText))],
      [
        'tokenizer.ggml.scores',
        array(
          6,
          tokens.map(() => ({ type: 6, bytes: new Uint8Array(4) })),
        ),
      ],
    ],
  })

export const ofGguf = shapes('GGUF', 'a.gguf', readModelGguf, {
  'metadata entries': (bytes) => ggufBytes({ metadata: many(bytes / 24, (i) => [`k${i}`, ggufText('')]) }),
  tensors: (bytes) =>
    ggufBytes({ tensors: many(bytes / 40, (i) => ({ name: `t${i}`, sizes: [0], type: 0, offset: 0 })) }),
  'a long name of a tensor': (bytes) =>
    ggufBytes({ tensors: [{ name: long(bytes), sizes: [1], type: 0, offset: 0 }], dataBytes: 4 }),
  'a long key': (bytes) => ggufBytes({ metadata: [[long(bytes), ggufText('')]] }),
  'long names in turn': (bytes) =>
    ggufBytes({ tensors: many(16, (i) => ({ name: `${long(bytes / 16)}${i}`, sizes: [0], type: 0, offset: 0 })) }),
  texts: (bytes) =>
    ggufBytes({
      metadata: [
        [
          'a',
          array(
            8,
            many(bytes / 9, () => ggufText('a')),
          ),
        ],
      ],
    }),
  'lists of lists': (bytes) =>
    ggufBytes({
      metadata: [
        [
          'a',
          array(
            9,
            many(bytes / 12, () => array(0, [])),
          ),
        ],
      ],
    }),
  'a tokenizer': (bytes) => llamaGguf(many(bytes / 24, (i) => `t${i}`)),
  'a tokenizer of long tokens': (bytes) => llamaGguf(many(bytes / 4096, (i) => `${long(4000)}${i}`)),
  'a tokenizer of prefixes': (bytes) =>
    llamaGguf(many(bytes / 128, (i) => `${Math.floor(i / 200)}${long((i % 200) + 1)}`)),
})

type Json = Record<string, unknown>
const withModel = (tokenizer: Json, model: Json) =>
  json({ ...tokenizer, model: { ...(tokenizer.model as Json), ...model } })
const vocabOf = (bytes: number) => Object.fromEntries(many(bytes / 16, (i) => [`t${i}`, i]))

const PLAIN = { normalized: false, single_word: false, lstrip: false, rstrip: false }

export const ofTokenizers = shapes('tokenizer.json', 'tokenizer.json', (folder) => loadTokenizer(folder), {
  vocabulary: (bytes) => withModel(byteLevel(), { vocab: vocabOf(bytes), merges: [] }),
  'merges of what is not there': (bytes) => withModel(byteLevel(), { merges: many(bytes / 12, (i) => `a b${i}`) }),
  'long tokens': (bytes) =>
    withModel(sentencePiece(), { vocab: Object.fromEntries(many(bytes / 4100, (i) => [`${long(4000)}${i}`, i])) }),
  'added tokens': (bytes) =>
    json({
      ...byteLevel(),
      added_tokens: many(bytes / 32, (i) => ({ id: i, content: `t${i}`, special: true, ...PLAIN })),
    }),
  'scored tokens': (bytes) => withModel(unigram(), { vocab: many(bytes / 16, (i) => [`t${i}`, -i]) }),
  'added tokens that are normalised': (bytes) =>
    json({
      ...byteLevel(),
      added_tokens: many(bytes / 32, (i) => ({ id: i, content: `t${i}`, special: false, ...PLAIN, normalized: true })),
    }),
  steps: (bytes) =>
    json({ ...byteLevel(), normalizer: { type: 'Sequence', normalizers: many(bytes / 16, () => ({ type: 'NFC' })) } }),
  'steps in steps': (bytes) =>
    json({ ...byteLevel(), normalizer: 0 }).replace(
      '"normalizer":0',
      `"normalizer":${'{"type":"Sequence","normalizers":['.repeat(Math.min(200, bytes / 64))}${']}'.repeat(Math.min(200, bytes / 64))}`,
    ),
  'a pattern': (bytes) =>
    json({
      ...byteLevel(),
      pre_tokenizer: {
        type: 'Split',
        pattern: { Regex: many(bytes / 4, () => 'a').join('|') },
        behavior: 'Isolated',
        invert: false,
      },
    }),
})
