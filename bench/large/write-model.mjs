// A model of Llama-2-7B's shape with random weights in Q4_0, written block by block.
import { randomFillSync } from 'node:crypto'
import { gguf, readGguf } from '../common/internals.mjs'

const { float32, list, ggufText, uint32, writeGguf } = gguf

export const vocabulary = 32_000
const sizes = { hidden: 4096, feedForward: 11_008, heads: 32, positions: 4096 }
const [blockValues, blockBytes] = [32, 18]

/** Writes it to `path`, with the tokenizer of `tokenizerOf`, a GGUF file, as far as its tokens go. */
export async function writeLargeModel(path, tokenizerOf, layers) {
  const { metadata } = await readGguf(tokenizerOf)
  const pool = randomBlocks(2 ** 16)
  const entries = tensorsOf(layers).map(({ name, shape }) => ({
    name,
    shape,
    dtype: /** @type {'float32' | 'q4_0'} */ (shape.length === 1 ? 'float32' : 'q4_0'),
    data: async () =>
      shape.length === 1 ? new Uint8Array(new Float32Array(shape[0]).fill(1).buffer) : blocks(pool, shape),
  }))
  await writeGguf(path, new Map([...modelFields(layers), ...tokenizerFields(metadata)]), entries)
}

function modelFields(layers) {
  const { hidden, feedForward, heads, positions } = sizes
  return Object.entries({
    'general.architecture': ggufText('llama'),
    'llama.context_length': uint32(positions),
    'llama.embedding_length': uint32(hidden),
    'llama.block_count': uint32(layers),
    'llama.feed_forward_length': uint32(feedForward),
    'llama.attention.head_count': uint32(heads),
    'llama.attention.head_count_kv': uint32(heads),
    'llama.attention.layer_norm_rms_epsilon': float32(1e-5),
    'llama.rope.freq_base': float32(10_000),
    'llama.vocab_size': uint32(vocabulary),
  })
}

/** The first tokens, and the merges among them. */
function tokenizerFields(metadata) {
  const of = (name) => metadata.get(`tokenizer.ggml.${name}`)
  const tokens = of('tokens').slice(0, vocabulary)
  const known = new Set(tokens)
  const merges = of('merges').filter((merge) => {
    const parts = merge.split(' ')
    return [...parts, parts.join('')].every((token) => known.has(token))
  })
  return Object.entries({
    'tokenizer.ggml.model': ggufText(of('model')),
    'tokenizer.ggml.pre': ggufText(of('pre')),
    'tokenizer.ggml.tokens': list('string', tokens),
    'tokenizer.ggml.token_type': list('int32', of('token_type').slice(0, tokens.length)),
    'tokenizer.ggml.merges': list('string', merges),
    'tokenizer.ggml.bos_token_id': uint32(of('bos_token_id')),
    'tokenizer.ggml.eos_token_id': uint32(of('eos_token_id')),
  })
}

function tensorsOf(layers) {
  const { hidden, feedForward } = sizes
  const block = {
    attn_norm: [hidden],
    attn_q: [hidden, hidden],
    attn_k: [hidden, hidden],
    attn_v: [hidden, hidden],
    attn_output: [hidden, hidden],
    ffn_norm: [hidden],
    ffn_gate: [feedForward, hidden],
    ffn_up: [feedForward, hidden],
    ffn_down: [hidden, feedForward],
  }
  const named = (name, shape) => ({ name: `${name}.weight`, shape })
  return [
    named('token_embd', [vocabulary, hidden]),
    ...Array.from({ length: layers }, (_, i) => i).flatMap((i) =>
      Object.entries(block).map(([name, shape]) => named(`blk.${i}.${name}`, shape)),
    ),
    named('output_norm', [hidden]),
    named('output', [vocabulary, hidden]),
  ]
}

/** Values with a standard deviation of about 0.02, as after training: codes of -8 to 7 with a scale each. */
function randomBlocks(count) {
  const float16 = 0x1c68 // 0.0043
  const bytes = randomFillSync(new Uint8Array(count * blockBytes))
  for (let at = 0; at < bytes.length; at += blockBytes) bytes.set([float16 & 0xff, float16 >> 8], at)
  return bytes
}

function blocks(pool, [rows, columns]) {
  const bytes = new Uint8Array(((rows * columns) / blockValues) * blockBytes)
  for (let at = 0; at < bytes.length; at += pool.length)
    bytes.set(pool.subarray(0, Math.min(pool.length, bytes.length - at)), at)
  return bytes
}
