import { statSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { readGguf } from '../../../lib/io/gguf.js'
import type { GgufFile, GgufValue } from '../../../lib/io/gguf-types.js'
import { configFromGguf } from '../../../lib/models/families/gguf-config.js'
import { pairedRows, unpermuteRows } from '../../../lib/models/gguf/layout.js'
import { huggingFaceName, llamaNames } from '../../../lib/models/gguf/names.js'
import { llama3Factors } from '../../../lib/models/gguf/rope-factors.js'
import { assetPath, lacksRealModel, REAL_MODEL } from '../../assets.js'
import { needing } from '../../needs.js'

const layers = 2
const projections = ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down']

/** A Llama file of which only the header exists. */
function llamaFile(metadata: Record<string, GgufValue> = {}, tensorNames: string[] = []): GgufFile {
  const location = { path: 'x.gguf', dtype: 'float32', shape: [300, 48], offset: 0, bytes: 57600 } as const
  const weights = [0, 1].flatMap((layer) => projections.map((name) => `blk.${layer}.${name}.weight`))
  return {
    path: 'x.gguf',
    metadata: new Map<string, GgufValue>(
      Object.entries({
        'general.architecture': 'llama',
        'llama.block_count': layers,
        'llama.context_length': 512,
        'llama.embedding_length': 48,
        'llama.feed_forward_length': 130,
        'llama.attention.head_count': 3,
        'llama.attention.head_count_kv': 1,
        'llama.attention.layer_norm_rms_epsilon': Math.fround(1e-5),
        ...metadata,
      }),
    ),
    tensors: new Map(
      ['token_embd.weight', 'output_norm.weight', ...weights, ...tensorNames].map((name) => [name, location]),
    ),
  }
}

const biasesOf = (names: string[]) => [0, 1].flatMap((layer) => names.map((name) => `blk.${layer}.${name}.bias`))

describe('configFromGguf', () => {
  it('returns the configuration that transformers would read', () => {
    const ids = { 'tokenizer.ggml.bos_token_id': 1, 'tokenizer.ggml.eos_token_id': 2 }
    expect(configFromGguf(llamaFile({ ...ids, 'llama.rope.freq_base': 500000 }))).toEqual({
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      hidden_act: 'silu',
      hidden_size: 48,
      intermediate_size: 130,
      num_hidden_layers: 2,
      num_attention_heads: 3,
      num_key_value_heads: 1,
      head_dim: 16,
      vocab_size: 300,
      max_position_embeddings: 512,
      rms_norm_eps: 1e-5,
      rope_theta: 500000,
      rope_scaling: null,
      attention_bias: false,
      mlp_bias: false,
      tie_word_embeddings: true,
      bos_token_id: 1,
      eos_token_id: 2,
      pad_token_id: null,
    })
  })

  it('finds an untied head and biases by their tensors', () => {
    const file = llamaFile({}, ['output.weight', ...biasesOf(projections.slice(0, 4))])
    expect(configFromGguf(file)).toMatchObject({
      tie_word_embeddings: false,
      attention_bias: true,
      mlp_bias: false,
    })
    expect(() => configFromGguf(llamaFile({}, biasesOf(['attn_q'])))).toThrow(/blk\.0\.attn_k\.bias is missing/)
  })

  it('reads a head size of its own and values given for each layer', () => {
    const metadata = { 'llama.attention.key_length': 32, 'llama.feed_forward_length': [130, 130] }
    expect(configFromGguf(llamaFile(metadata))).toMatchObject({ head_dim: 32, intermediate_size: 130 })
  })

  it('reads linear and YaRN scaling', () => {
    const scaling = (metadata: Record<string, GgufValue>) => configFromGguf(llamaFile(metadata)).rope_scaling
    expect(scaling({ 'llama.rope.scale_linear': 4 })).toEqual({ rope_type: 'linear', factor: 4 })
    expect(scaling({ 'llama.rope.scaling.type': 'linear', 'llama.rope.scaling.factor': 2 })).toEqual({
      rope_type: 'linear',
      factor: 2,
    })
    const yarn = { 'llama.rope.scaling.type': 'yarn', 'llama.rope.scaling.factor': 4 }
    const read = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64, beta_fast: 32, beta_slow: 1 }
    const original = { ...yarn, 'llama.rope.scaling.original_context_length': 64 }
    expect(scaling(original)).toEqual(read)
    const betas = { 'llama.rope.scaling.yarn_beta_fast': 16, 'llama.rope.scaling.yarn_beta_slow': 2 }
    expect(scaling({ ...original, ...betas })).toEqual({ ...read, beta_fast: 16, beta_slow: 2 })
    expect(scaling({ 'llama.rope.scaling.type': 'none' })).toBeNull()
  })

  it('reads Ministral 3 with and without YaRN', () => {
    const rope = (metadata: Record<string, GgufValue>) => {
      const { metadata: ofLlama, ...file } = llamaFile()
      const renamed = [...ofLlama].map(([key, value]): [string, GgufValue] => [
        key.replace('llama.', 'mistral3.'),
        value,
      ])
      const own = new Map([...renamed, ...Object.entries(metadata), ['general.architecture', 'mistral3'] as const])
      return configFromGguf({ ...file, metadata: own }).rope_parameters
    }
    expect(rope({})).toEqual({ rope_type: 'default', rope_theta: 10000, llama_4_scaling_beta: 0 })
    const yarn = { 'mistral3.rope.scaling.type': 'yarn', 'mistral3.rope.scaling.factor': 16 }
    const multiplier = {
      'mistral3.rope.scaling.yarn_log_multiplier': 0.5,
      'mistral3.attention.temperature_scale': 0.25,
    }
    expect(rope({ ...yarn, ...multiplier })).toMatchObject({
      mscale: 1,
      mscale_all_dim: 0.5,
      llama_4_scaling_beta: 0.25,
    })
  })

  it('recognises Llama 3’s scaling by its table', () => {
    const rope = { 'llama.rope.freq_base': 500000, 'llama.attention.key_length': 64 }
    const file = llamaFile(rope, ['rope_freqs.weight'])
    expect(configFromGguf(file, Float32Array.from(llama3Factors(32, 8192, 500000, 64))).rope_scaling).toEqual({
      rope_type: 'llama3',
      factor: 32,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    })
    expect(configFromGguf(file, new Float32Array(32).fill(1)).rope_scaling).toBeNull()
    expect(() =>
      configFromGguf(
        file,
        Float32Array.from({ length: 32 }, (_, i) => i + 1),
      ),
    ).toThrow(/not Llama 3's/)
    expect(() => configFromGguf(file)).toThrow(/values of rope_freqs\.weight are needed/)
  })

  const refused: [Record<string, GgufValue>, RegExp][] = [
    [
      { 'general.architecture': 'mamba' },
      /architecture mamba; supported in GGUF files: llama, mistral3, smollm3, qwen2/,
    ],
    [
      { 'general.architecture': 'gpt-oss', 'gpt-oss.expert_count': 32 },
      /architecture gpt-oss; supported in GGUF files: llama, .*, all of them without experts: take a model that has none\.$/,
    ],
    [{ 'llama.expert_count': 8 }, /llama\.expert_count 8/],
    [{ 'llama.rope.dimension_count': 8 }, /llama\.rope\.dimension_count 8/],
    [{ 'llama.attention.value_length': 8 }, /value_length 8/],
    [{ 'llama.logit_scale': 0.5 }, /llama\.logit_scale/],
    [{ 'llama.rope.scaling.type': 'longrope' }, /longrope/],
    [{ 'llama.attention.head_count_kv': [1, 3] }, /head_count_kv that differs between layers/],
    [{ 'llama.context_length': 'long' }, /llama\.context_length is long, but a whole number/],
    [{ 'llama.embedding_length': 0 }, /embedding_length is 0/],
    [{ 'llama.attention.head_count': 5 }, /key_length is 9\.6/],
    [{ 'llama.block_count': 2 ** 31 }, /claims 2147483648 blocks/],
  ]
  it.each(refused)('refuses %j', (metadata, message) => {
    expect(() => configFromGguf(llamaFile(metadata))).toThrow(message)
  })

  it('names metadata that is missing', () => {
    const file = llamaFile()
    file.metadata.delete('llama.block_count')
    expect(() => configFromGguf(file)).toThrow(/x\.gguf is malformed: it lacks the metadata llama\.block_count/)
  })
})

describe('huggingFaceName', () => {
  it.each([
    ['token_embd.weight', 'model.embed_tokens.weight'],
    ['output_norm.weight', 'model.norm.weight'],
    ['output.weight', 'lm_head.weight'],
    ['blk.0.attn_norm.weight', 'model.layers.0.input_layernorm.weight'],
    ['blk.11.attn_q.weight', 'model.layers.11.self_attn.q_proj.weight'],
    ['blk.3.attn_k.bias', 'model.layers.3.self_attn.k_proj.bias'],
    ['blk.3.attn_v.weight', 'model.layers.3.self_attn.v_proj.weight'],
    ['blk.3.attn_output.bias', 'model.layers.3.self_attn.o_proj.bias'],
    ['blk.3.ffn_norm.weight', 'model.layers.3.post_attention_layernorm.weight'],
    ['blk.3.ffn_gate.weight', 'model.layers.3.mlp.gate_proj.weight'],
    ['blk.3.ffn_up.weight', 'model.layers.3.mlp.up_proj.weight'],
    ['blk.3.ffn_down.bias', 'model.layers.3.mlp.down_proj.bias'],
    ['rope_freqs.weight', 'rope_freqs.weight'],
  ])('%s is %s', (gguf, huggingFace) => {
    expect(huggingFaceName(gguf, llamaNames)).toBe(huggingFace)
  })

  it.each([
    'blk.0.ffn_gate_exps.weight',
    'attn_q.weight',
    'blk.0.output.weight',
    'blk.x.attn_q.weight',
    'toString.weight',
  ])('refuses %s', (name) => {
    expect(() => huggingFaceName(name, llamaNames)).toThrow(new RegExp(name.replaceAll('.', '\\.')))
  })
})

describe('unpermuteRows', () => {
  it('separates the pairs that llama.cpp stores together, head by head', () => {
    expect([...unpermuteRows(2, 6)]).toEqual([0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11])
  })

  it('keeps every rotation: pair j of a head is (2j, 2j + 1) before and (j, j + half) after', () => {
    const [headSize, half] = [64, 32]
    const order = unpermuteRows(3, headSize)
    for (let head = 0; head < 3; head++) {
      for (let pair = 0; pair < half; pair++) {
        expect(order[head * headSize + pair]).toBe(head * headSize + 2 * pair)
        expect(order[head * headSize + pair + half]).toBe(head * headSize + 2 * pair + 1)
      }
    }
  })

  it('is needed for queries and keys only', () => {
    const config = { heads: 3, keyValueHeads: 1, headSize: 4 }
    expect(pairedRows('blk.0.attn_q.weight', config)?.rows).toHaveLength(12)
    expect(pairedRows('blk.0.attn_k.bias', config)?.rows).toHaveLength(4)
    expect(pairedRows('blk.0.attn_v.weight', config)).toBeNull()
    expect(pairedRows('token_embd.weight', config)).toBeNull()
  })
})

needing(lacksRealModel).describe('SmolLM2-135M-Instruct', () => {
  it('has the configuration and tensors of its model card', async () => {
    const file = await readGguf(assetPath(REAL_MODEL))
    expect(configFromGguf(file)).toMatchObject({
      hidden_size: 576,
      intermediate_size: 1536,
      num_hidden_layers: 30,
      num_attention_heads: 9,
      num_key_value_heads: 3,
      head_dim: 64,
      vocab_size: 49152,
      max_position_embeddings: 8192,
      rms_norm_eps: 1e-5,
      rope_theta: 100000,
      tie_word_embeddings: true,
      bos_token_id: 1,
      eos_token_id: 2,
    })
    expect(file.tensors.size).toBe(2 + 30 * 9)
    expect(file.tensors.get('blk.3.attn_k.weight')).toMatchObject({ dtype: 'q4_1', shape: [192, 576] })
    const names = [...file.tensors.keys()].map((name) => huggingFaceName(name, llamaNames))
    expect(new Set(names).size).toBe(file.tensors.size)
    const parameters = [...file.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0)
    expect(parameters).toBe(134_515_008)
    const ends = [...file.tensors.values()].map(({ offset, bytes }) => offset + bytes)
    expect(statSync(file.path).size - Math.max(...ends)).toBeLessThan(32)
  })
})
