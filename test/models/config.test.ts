/** The meaning of configurations of model families, in the forms of published checkpoints. */
import { describe, expect, test } from 'vitest'
import { families } from '../../lib/models/families/index.js'
import { parseConfig } from '../../lib/models/families/parse-config.js'
import { attentionsOf, linearsOf, weightShapes } from '../../lib/models/network/plan.js'
import golden from '../golden/config-keys.json' with { type: 'json' }

type Json = Record<string, unknown>

const sizes = {
  hidden_size: 64,
  intermediate_size: 160,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 500,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-6,
}
const networkOf = (json: Json) => parseConfig({ ...sizes, ...json }, 'config.json').network
const attentions = (json: Json) => attentionsOf(networkOf(json))
const windows = (json: Json) => attentions(json).map(({ softmax }) => softmax.window)

describe('windows', () => {
  test.each<[string, Json, (number | null)[]]>([
    ['a window of all layers', { model_type: 'mistral', sliding_window: 1024 }, Array(6).fill(1024)],
    ['no window', { model_type: 'mistral', sliding_window: null }, Array(6).fill(null)],
    ['one that reaches everywhere', { model_type: 'mistral', sliding_window: 4096 }, Array(6).fill(null)],
    [
      'one that is switched off',
      { model_type: 'qwen2', sliding_window: 1024, use_sliding_window: false, max_window_layers: 2 },
      Array(6).fill(null),
    ],
    [
      'of the layers from the third on',
      { model_type: 'qwen2', sliding_window: 1024, use_sliding_window: true, max_window_layers: 2 },
      [null, null, 1024, 1024, 1024, 1024],
    ],
    [
      'of the usual size',
      { model_type: 'qwen2', use_sliding_window: true, max_window_layers: 5, max_position_embeddings: 8192 },
      [null, null, null, null, null, 4096],
    ],
    ['of every other layer', { model_type: 'gemma2', sliding_window: 8 }, [8, null, 8, null, 8, null]],
    [
      'by a pattern',
      { model_type: 'gemma3_text', sliding_window: 8, sliding_window_pattern: 3 },
      [8, 8, null, 8, 8, null],
    ],
    [
      'by a list',
      {
        model_type: 'gemma3_text',
        sliding_window: 8,
        layer_types: [...Array(5).fill('full_attention'), 'sliding_attention'],
      },
      [null, null, null, null, null, 8],
    ],
  ])('%s', (_, json, wanted) => {
    expect(windows(json)).toEqual(wanted)
  })
})

describe('rotary embeddings', () => {
  test('Gemma 3 has another base, without scaling, where there is a window', () => {
    const scaling = { rope_type: 'linear', factor: 8 }
    const json = { model_type: 'gemma3_text', sliding_window: 8, rope_theta: 1e6, rope_local_base_freq: 1e4 }
    const kinds = attentions({ ...json, head_dim: 16, rope_scaling: scaling }).map(({ rotary }) => rotary)
    const local = { theta: 1e4, headSize: 16, scaling: { type: 'default' } }
    expect(kinds).toEqual([
      ...Array(5).fill(local),
      { theta: 1e6, headSize: 16, scaling: { type: 'linear', factor: 8 } },
    ])
  })

  test('SmolLM3 has none in every fourth layer', () => {
    const has = (json: Json) => attentions({ model_type: 'smollm3', ...json }).map(({ rotary }) => rotary !== null)
    expect(has({})).toEqual([true, true, true, false, true, true])
    expect(has({ no_rope_layer_interval: 2 })).toEqual([true, false, true, false, true, false])
    expect(has({ no_rope_layers: [0, 1, 1, 1, 1, 0] })).toEqual([false, true, true, true, true, false])
  })

  test('LongRoPE has factors of short and of long rows, in the older words and the newer', () => {
    const [short, long] = [Array(8).fill(1.5), Array.from({ length: 8 }, (_, j) => j + 2)]
    const rows = (json: Json) => attentions({ model_type: 'phi3', ...json })[0]!.rotary
    const wanted = { type: 'longrope', shortFactors: short, longFactors: long, originalPositions: 256 }
    const attentionFactor = Math.sqrt(1 + Math.log(16) / Math.log(256))
    const factors = { short_factor: short, long_factor: long }
    for (const type of ['longrope', 'su', 'yarn']) {
      expect(rows({ original_max_position_embeddings: 256, rope_scaling: { type, ...factors } })).toEqual({
        theta: 10000,
        headSize: 16,
        scaling: { ...wanted, attentionFactor },
      })
    }
    expect(() => rows({ rope_scaling: { type: 'linear', factor: 2 } })).toThrow(
      /rope_type "linear" is not supported: known are default, longrope, su, yarn/,
    )
    const parameters = { rope_type: 'longrope', rope_theta: 5000, original_max_position_embeddings: 256, ...factors }
    expect(rows({ rope_parameters: { ...parameters, factor: 1 } })).toMatchObject({
      theta: 5000,
      scaling: { ...wanted, attentionFactor: 1 },
    })
    expect(rows({ rope_parameters: { ...parameters, attention_factor: 1.25 } })).toMatchObject({
      scaling: { attentionFactor: 1.25 },
    })
  })

  test('a part of each head is rotated', () => {
    const [first] = attentions({ model_type: 'phi3', partial_rotary_factor: 0.75 })
    expect(first!.rotary).toMatchObject({ headSize: 12, theta: 10000 })
    expect(() => networkOf({ model_type: 'phi3', partial_rotary_factor: 0.7 })).toThrow(/partial_rotary_factor 0\.7/)
  })
})

test('missing keys have the family’s default values', () => {
  const gemma = parseConfig({ ...sizes, model_type: 'gemma', hidden_act: 'gelu' }, 'config.json')
  expect(gemma).toMatchObject({ tiedEmbeddings: true, headSize: 256 })
  expect(gemma.network).toMatchObject({ embeddingScale: 8, finalNorm: { weightOffset: 1 } })
  expect(parseConfig({ ...sizes, model_type: 'llama' }, 'config.json')).toMatchObject({ tiedEmbeddings: false })
  const gemma2 = networkOf({ model_type: 'gemma2' })
  expect(attentionsOf(gemma2)[0]!.softmax).toEqual({ scale: 1 / 16, window: null, softcap: 50 })
  expect(gemma2.logits).toEqual({ scale: 1, softcap: 30 })
  const uncapped = networkOf({ model_type: 'gemma2', attn_logit_softcapping: null, final_logit_softcapping: null })
  expect(attentionsOf(uncapped)[0]!.softmax.softcap).toBeNull()
  expect(uncapped.logits.softcap).toBeNull()
})

/** What the keys of a type have beside, or instead of, those of Llama. */
const ofType: Readonly<Record<string, Json>> = {
  granitemoehybrid: {
    shared_intermediate_size: 160,
    num_local_experts: 0,
    layer_types: Array(6).fill('attention'),
  },
  lfm2: { rms_norm_eps: null },
}

const base = (type: string): Json =>
  type === 'gpt2'
    ? { vocab_size: 500, n_embd: 64, n_head: 4, n_layer: 2, model_type: type }
    : { ...sizes, ...ofType[type], model_type: type }

test('a wrapped text model has its class’s default values', () => {
  const gemma = parseConfig({ model_type: 'gemma3' }, 'config.json')
  expect(gemma).toMatchObject({ layers: 26, heads: 8, keyValueHeads: 4, headSize: 256, vocabularySize: 262_208 })
  expect(gemma).toMatchObject({ hiddenSize: 2304, intermediateSize: 9216, tiedEmbeddings: true })
  const mistral = parseConfig({ model_type: 'mistral3' }, 'config.json')
  expect(mistral).toMatchObject({ layers: 32, heads: 32, keyValueHeads: 8, headSize: 128, vocabularySize: 32_000 })
  const text_config = { model_type: 'ministral3' }
  const ministral = parseConfig({ model_type: 'mistral3', text_config }, 'config.json')
  expect(ministral).toMatchObject({ layers: 34, keyValueHeads: 8, headSize: 128, vocabularySize: 131_072 })
  expect(ministral.network.blocks[0]!.beforeMixer!.name).toBe('model.language_model.layers.0.input_layernorm')
  expect(attentionsOf(ministral.network)[0]!.rotary).toEqual({
    theta: 1e6,
    headSize: 128,
    queryGrowth: { beta: 0.1, originalPositions: 16_384 },
    scaling: {
      type: 'yarn',
      factor: 16,
      originalPositions: 16_384,
      betaFast: 32,
      betaSlow: 1,
      attentionFactor: 1,
      truncate: true,
    },
  })
})

test('Granite 4 rotates only where the configuration says so', () => {
  const rotaries = (json: Json) =>
    attentions({ ...base('granitemoehybrid'), ...json }).map(({ rotary }) => rotary !== null)
  expect(rotaries({ position_embedding_type: 'rope' })).toEqual(Array(6).fill(true))
  expect(rotaries({ position_embedding_type: 'nope' })).toEqual(Array(6).fill(false))
  expect(rotaries({})).toEqual(Array(6).fill(false))
})

describe('Gemma 4', () => {
  const pattern = Array.from({ length: 10 }, (_, i) => (i % 5 === 4 ? 'full_attention' : 'sliding_attention'))
  const e2b = {
    model_type: 'gemma4_text',
    num_hidden_layers: 10,
    num_key_value_heads: 1,
    num_kv_shared_layers: 4,
    layer_types: pattern,
    use_double_wide_mlp: true,
    sliding_window: 8,
  }
  const ofLayers = <Value>(json: Json, read: (attention: ReturnType<typeof attentions>[number]) => Value) =>
    attentions({ ...e2b, ...json }).map(read)

  test('shares keys and values of the last layer of each kind that has its own', () => {
    const own = Array(6).fill(undefined)
    expect(ofLayers({}, ({ source }) => source)).toEqual([...own, 5, 5, 5, 4])
    expect(ofLayers({}, ({ projections }) => projections.length)).toEqual([...Array(6).fill(3), 1, 1, 1, 1])
    const widths = networkOf({ ...e2b }).blocks.map(({ mlp }) => mlp.down.inFeatures)
    expect(widths).toEqual([...Array(6).fill(160), ...Array(4).fill(320)])
  })

  test('has larger heads, and its own number of them, where there is no window', () => {
    const heads = (json: Json) => ofLayers(json, ({ shape }) => [shape.headSize, shape.keyValueHeads]).slice(3, 6)
    expect(heads({ num_global_key_value_heads: 2 })).toEqual([256, 512, 256].map((size) => [size, 1]))
    const alike = { attention_k_eq_v: true, num_global_key_value_heads: 2, global_head_dim: 64, head_dim: 32 }
    expect(heads(alike)).toEqual([
      [32, 1],
      [64, 2],
      [32, 1],
    ])
    expect(ofLayers(alike, ({ projections }) => projections.length).slice(3, 6)).toEqual([3, 2, 3])
    const byLayer = { head_dim: 32, per_layer_config: { 4: { head_dim: 16 }, 9: { head_dim: 16 } } }
    expect(heads(byLayer)).toEqual([32, 16, 32].map((size) => [size, 1]))
  })

  test('turns a quarter of the larger heads, by another base', () => {
    const turns = ofLayers({ global_head_dim: 64 }, ({ rotary }) => rotary)
    expect(turns[0]).toEqual({ theta: 1e4, headSize: 256, scaling: { type: 'default' } })
    expect(turns[4]).toEqual({ theta: 1e6, headSize: 64, scaling: { type: 'proportional', factor: 1, part: 0.25 } })
    expect(new Set(turns).size).toBe(2)
  })

  test('has inputs of every layer unless their size is 0', () => {
    expect(networkOf(e2b).perLayer).toMatchObject({ rows: 262_144, size: 256, projection: { outFeatures: 2560 } })
    expect(networkOf({ ...e2b, hidden_size_per_layer_input: 0 })).not.toHaveProperty('perLayer')
    expect(networkOf({ ...e2b, hidden_size_per_layer_input: 0 }).blocks[0]).not.toHaveProperty('perLayer')
    const json = { ...sizes, ...e2b, hidden_size_per_layer_input: 0, vocab_size_per_layer_input: 500 }
    expect(warnings(json)).toEqual([])
  })
})

describe('LFM2', () => {
  const lfm2 = (json: Json) => parseConfig({ ...base('lfm2'), ...json }, 'config.json')
  const kinds = (json: Json) =>
    lfm2(json)
      .network.blocks.map(({ mixer }) => mixer.kind[0])
      .join('')

  test('has attention in the layers that either key names, or in all', () => {
    expect(kinds({ full_attn_idxs: [2, 4] })).toBe('ssasas')
    const layer_types = ['conv', 'full_attention', 'conv', 'conv', 'conv', 'full_attention']
    expect(kinds({ layer_types, full_attn_idxs: [2, 4] })).toBe('sasssa')
    expect(kinds({})).toBe('aaaaaa')
    expect(() => lfm2({ layer_types: Array(6).fill('mamba') })).toThrow(/layer_types "mamba" is not supported/)
    expect(() => lfm2({ full_attn_idxs: 2 })).toThrow(/expected a list of layers for full_attn_idxs but found 2/)
  })

  test.each<[Json, number]>([
    [{ block_ff_dim: 6656 }, 4608],
    [{ block_ff_dim: 12_288, intermediate_size: 1 }, 8192],
    [{ intermediate_size: 100, block_multiple_of: 16 }, 80],
    [{ intermediate_size: 100, block_multiple_of: 16, block_ffn_dim_multiplier: 1.3 }, 96],
    [{ intermediate_size: 100, block_ffn_dim_multiplier: null }, 66],
    [{ intermediate_size: 100, block_auto_adjust_ff_dim: false }, 100],
  ])('%o has an MLP of width %i', (json, width) => {
    const config = lfm2(json)
    expect(config.intermediateSize).toBe(width)
    expect(weightShapes(config).get('model.layers.0.feed_forward.w1.weight')).toEqual([width, 64])
  })

  test('as published, where the head is tied by an older key, and convolutions may have other lengths and biases', () => {
    const published = {
      block_dim: 64,
      block_use_swiglu: true,
      conv_dim: 64,
      conv_L_cache: 4,
      conv_bias: true,
      full_attn_idxs: [1],
      num_heads: 4,
      theta: 500_000,
      tie_embedding: false,
      use_pos_enc: true,
    }
    expect(warnings({ ...base('lfm2'), ...published })).toEqual([])
    const config = lfm2(published)
    expect(config.tiedEmbeddings).toBe(false)
    expect(attentionsOf(config.network)[0]!.rotary).toMatchObject({ theta: 500_000 })
    const shapes = weightShapes(config)
    const own = [...shapes].filter(([name]) => name.startsWith('model.layers.0.conv.'))
    expect(Object.fromEntries(own)).toEqual({
      'model.layers.0.conv.in_proj.weight': [192, 64],
      'model.layers.0.conv.in_proj.bias': [192],
      'model.layers.0.conv.conv.weight': [64, 1, 4],
      'model.layers.0.conv.conv.bias': [64],
      'model.layers.0.conv.out_proj.weight': [64, 64],
      'model.layers.0.conv.out_proj.bias': [64],
    })
  })
})

describe('Qwen3.5', () => {
  const qwen = (json: Json) => parseConfig({ ...base('qwen3_5_text'), ...json }, 'config.json')
  const kinds = (json: Json) =>
    qwen(json)
      .network.blocks.map(({ mixer }) => mixer.kind[0])
      .join('')

  test('has attention in every fourth layer, or where either key says', () => {
    expect(kinds({})).toBe('dddadd')
    expect(kinds({ full_attention_interval: 2 })).toBe('dadada')
    const layer_types = ['full_attention', ...Array(5).fill('linear_attention')]
    expect(kinds({ layer_types, full_attention_interval: 2 })).toBe('addddd')
    expect(() => qwen({ layer_types: Array(6).fill('mamba') })).toThrow(/layer_types "mamba" is not supported/)
  })

  test('as published: sections of positions, and keys of layers that are kept apart, change nothing', () => {
    const published = {
      attn_output_gate: true,
      full_attention_interval: 4,
      mamba_ssm_dtype: 'float32',
      mtp_num_hidden_layers: 1,
      rope_parameters: {
        mrope_interleaved: true,
        mrope_section: [11, 11, 10],
        partial_rotary_factor: 0.25,
        rope_theta: 10_000_000,
        rope_type: 'default',
      },
    }
    expect(warnings({ ...base('qwen3_5_text'), ...published })).toEqual([])
    expect(attentionsOf(qwen(published).network)[0]!.rotary).toMatchObject({ theta: 10_000_000, headSize: 64 })
    const older = { rope_theta: 5000, partial_rotary_factor: 0.5 }
    expect(attentionsOf(qwen(older).network)[0]!.rotary).toMatchObject({ theta: 5000, headSize: 128 })
    expect(attentionsOf(qwen({}).network)[0]!.rotary).toMatchObject({ theta: 10_000, headSize: 64 })
  })

  test('has delta nets of any sizes whose value heads are a multiple of the key heads', () => {
    const linear_conv_kernel_dim = 3
    const heads = { linear_num_key_heads: 2, linear_num_value_heads: 6 }
    const sizes = { linear_key_head_dim: 5, linear_value_head_dim: 7 }
    const shapes = weightShapes(qwen({ ...heads, ...sizes, linear_conv_kernel_dim }))
    expect(shapes.get('model.layers.0.linear_attn.conv1d.weight')).toEqual([62, 1, 3])
    expect(shapes.get('model.layers.0.linear_attn.A_log')).toEqual([6])
    expect(shapes.get('model.layers.3.self_attn.q_proj.weight')).toEqual([2048, 64])
    expect(() => qwen({ ...heads, linear_num_value_heads: 5 })).toThrow(/5 linear_num_value_heads are no multiple of 2/)
  })
})

/** The notes of loading on a configuration. */
function warnings(json: Json): string[] {
  const heard: string[] = []
  parseConfig(json, 'config.json', (message) => heard.push(message))
  return heard
}

describe('keys that transformers ignores', () => {
  test.each<[string, string, Json, string | null]>([
    ['the MoRA authors’ Llama', 'llama', { max_sequence_length: 1024 }, 'max_sequence_length'],
    ['a Llama without dropout', 'llama', { hidden_dropout: 0, use_flash_attn: false, embd_pdrop: null }, null],
    ['a Llama with a dropout that it has not', 'llama', { hidden_dropout: 0.1 }, 'hidden_dropout'],
    ['Qwen2, whose biases are fixed', 'qwen2', { attention_bias: true }, 'attention_bias'],
    ['Mistral, which has no biases', 'mistral', { attention_bias: true }, 'attention_bias'],
    [
      'YaRN of its authors',
      'llama',
      { rope_scaling: { type: 'yarn', factor: 4, finetuned: true, attn_factor: 1.5 } },
      'finetuned, attn_factor',
    ],
    ['who made it', 'llama', { author: 'A', license: 'mit', created_date: '2024' }, 'author, license, created_date'],
    [
      'long rows of another program',
      'qwen2',
      {
        model_name: 'q',
        use_flash_attn: true,
        dual_chunk_attention_config: { chunk_size: 8 },
        _model_name_or_path: 'q',
      },
      'model_name, use_flash_attn, dual_chunk_attention_config, _model_name_or_path',
    ],
    ['a quantiser, of random weights', 'llama', { quantization_config: { quant_algo: 'FP8' } }, 'quantization_config'],
    ['SmolLM2', 'llama', { is_llama_config: true, rope_interleaved: false, 'transformers.js_config': {} }, null],
    ['SmolLM3 3B', 'smollm3', { max_window_layers: 28, sliding_window: null }, 'max_window_layers'],
    ['Gemma 2 as first published', 'gemma2', { sliding_window_size: 4096 }, 'sliding_window_size'],
    ['Phi-4 mini', 'phi3', { full_attn_mod: 1, lm_head_bias: false }, 'full_attn_mod'],
    ['GPT-2 medium', 'gpt2', { n_special: 0, output_past: true, n_ctx: 1024 }, 'output_past'],
  ])('%s', (_, type, json, ignored) => {
    const wanted = `config.json: keys are ignored, as transformers ignores them for ${type}: ${ignored}.`
    expect(warnings({ ...base(type), ...json })).toEqual(ignored === null ? [] : [wanted])
    const without = json.rope_scaling ? { rope_scaling: { type: 'yarn', factor: 4 } } : {}
    const [one, other] = [json, without].map((more) => parseConfig({ ...base(type), ...more }, 'config.json').network)
    expect(one).toEqual(other)
  })

  test('are named without control characters, and in bounded length', () => {
    const [message] = warnings({
      ...base('llama'),
      '\u001b[2J': 1,
      ...Object.fromEntries(
        Array(900)
          .fill(0)
          .map((_, i) => [`key${i}`, 1]),
      ),
    })
    expect(message).toMatch(/\\u001b\[2J, key0, .*…/)
    expect(Buffer.byteLength(message!)).toBeLessThanOrEqual(2000)
  })
})

describe('keys that transformers reads', () => {
  const types = Object.entries(golden.types).map(([type, keys]) => [type, [...golden.every, ...keys]] as const)

  test.each(types)('of %s have a meaning here, or change nothing', (type, keys) => {
    const ignored = keys.filter((key) => {
      try {
        return key !== 'model_type' && warnings({ ...base(type), [key]: 'strange' }).length > 0
      } catch (error) {
        expect(String(error)).toContain(key)
        return false
      }
    })
    expect(ignored).toEqual([])
  })

  test('are listed for every family', () => {
    // One that is completed has the keys of another.
    const own = families.filter(({ completed }) => !completed).map(({ modelType }) => modelType)
    expect(Object.keys(golden.types).toSorted()).toEqual(own.toSorted())
  })
})

test('GPT-2’s published configuration', () => {
  const config = parseConfig(
    {
      activation_function: 'gelu_new',
      architectures: ['GPT2LMHeadModel'],
      attn_pdrop: 0.1,
      bos_token_id: 50256,
      embd_pdrop: 0.1,
      eos_token_id: 50256,
      initializer_range: 0.02,
      layer_norm_epsilon: 1e-5,
      model_type: 'gpt2',
      n_ctx: 1024,
      n_embd: 768,
      n_head: 12,
      n_layer: 12,
      n_positions: 1024,
      resid_pdrop: 0.1,
      summary_activation: null,
      summary_first_dropout: 0.1,
      summary_proj_to_labels: true,
      summary_type: 'cls_index',
      summary_use_proj: true,
      task_specific_params: { 'text-generation': { do_sample: true, max_length: 50 } },
      vocab_size: 50257,
    },
    'config.json',
  )
  const parameters = [...weightShapes(config).values()].map((shape) => shape.reduce((a, b) => a * b))
  expect(parameters.reduce((a, b) => a + b)).toBe(124_439_808)
  expect(linearsOf(config.network).slice(0, 4)).toEqual([
    { name: 'transformer.h.0.attn.c_attn', outFeatures: 2304, inFeatures: 768, bias: true },
    { name: 'transformer.h.0.attn.c_proj', outFeatures: 768, inFeatures: 768, bias: true },
    { name: 'transformer.h.0.mlp.c_fc', outFeatures: 3072, inFeatures: 768, bias: true },
    { name: 'transformer.h.0.mlp.c_proj', outFeatures: 768, inFeatures: 3072, bias: true },
  ])
})

test('the text part of gemma4_unified is read as Gemma 4 without inputs by layer', () => {
  const text = { ...base('gemma4_text'), model_type: 'gemma4_unified_text', hidden_size_per_layer_input: 8 }
  const architectures = ['Gemma4UnifiedForConditionalGeneration']
  const { network, ...sizes } = parseConfig({ model_type: 'gemma4_unified', architectures, text_config: text }, 'c')
  const alike = parseConfig(
    { ...text, model_type: 'gemma4_text', hidden_size_per_layer_input: 0, sliding_window: 1024 },
    'c',
  )
  expect(network.perLayer).toBeUndefined()
  expect(sizes.text?.network).toEqual(alike.network)
})

test.each([
  ['llama', 'LlamaForCausalLM'],
  ['llama', 'LLaMAForCausalLM'],
  ['llama', 'FSDPLlamaForCausalLM'],
  ['llama', 'MistralForCausalLM'],
  ['qwen3', 'Qwen3Model'],
  ['gemma3_text', 'Gemma3TextModel'],
  ['qwen3_5_text', 'Qwen3_5ForCausalLM'],
  ['granitemoehybrid', 'GraniteMoeHybridForCausalLM'],
  ['smollm3', 'SmolLM3ForSequenceClassification'],
])('%s: a configuration of %s is read', (model_type, name) => {
  for (const architectures of [[name], name, undefined])
    expect(parseConfig({ ...base(model_type), architectures }, 'config.json').architecture).toBe(model_type)
})

test.each<[Json, RegExp]>([
  [{ architectures: ['LlamaForCausalLMEagle3'] }, /has architectures "LlamaForCausalLMEagle3", so it is a draft model/],
  [{ architectures: ['DFlashDraftModel'] }, /so it is a draft model, which guesses .*: give that one\.$/],
  [{ architectures: ['LlamaForCausalLM'], draft_vocab_size: 32000 }, /has draft_vocab_size, so it is a draft model/],
  [{ dflash_config: { target_layer_ids: [1] } }, /has dflash_config, so/],
  [{ target_hidden_size: 64 }, /has target_hidden_size, so/],
  [{ architectures: ['DSparkQwen3Model'] }, /draft model/],
  [
    { architectures: ['LlamaForTokenClassification'] },
    /"LlamaForTokenClassification", which is not supported; expected a/,
  ],
  [{ architectures: ['LlamaForRewardModel'] }, /"LlamaForRewardModel", which is not supported/],
  [{ architectures: ['LlamaForQuestionAnswering'] }, /not supported/],
  [{ architectures: ['LlavaLlamaForCausalLM'] }, /not supported/],
])('of another kind of model: %j', (changes, message) => {
  expect(() => parseConfig({ ...base('llama'), ...changes }, 'config.json')).toThrow(message)
  const wrapped = { model_type: 'gemma3', text_config: { ...base('gemma3_text'), ...changes } }
  expect(() => parseConfig(wrapped, 'config.json')).toThrow(message)
})

test.each<[Json, RegExp]>([
  [
    { model_type: 'qwen4' },
    /architecture qwen4 is not supported; supported: llama, mistral, .*, gpt2, gemma3, gemma4, gemma4_unified, mistral3, qwen3_5\.$/,
  ],
  [
    { model_type: 'qwen3_moe', num_experts: 128 },
    /architecture qwen3_moe is not supported; supported: llama, mistral, .*, all of them without experts: take a model that has none\.$/,
  ],
  [
    { model_type: 'gemma3n', text_config: { model_type: 'gemma3n_text' } },
    /architecture gemma3n is not supported yet: it wraps "gemma3n_text", a text model, in text_config; supported: llama/,
  ],
  [{ model_type: 'gemma3', text_config: [] }, /expected an object for text_config but found \[\]/],
  [
    { model_type: 'mistral3', text_config: { model_type: 'qwen9' } },
    /^config\.json, text_config: architecture qwen9 is not supported; supported: llama/,
  ],
  [{ ...base('granitemoehybrid'), layer_types: Array(6).fill('mamba') }, /layer_types "mamba" is not supported/],
  [
    { ...base('gemma4_text'), enable_moe_block: true },
    /enable_moe_block true is not supported: take a model that has no experts/,
  ],
  [
    { ...base('gemma4_text'), use_bidirectional_attention: 'all' },
    /use_bidirectional_attention "all" is not supported/,
  ],
  [{ ...base('gemma4_text'), num_kv_shared_layers: 6 }, /one of each kind for num_kv_shared_layers but found 6/],
  [{ ...base('gemma4_text'), per_layer_config: { 5: { sliding_window: 4 } } }, /sliding_window 4 is not supported/],
  [{ ...base('granitemoehybrid'), layer_types: null }, /layer_types "mamba" is not supported/],
  [{ ...base('granitemoehybrid'), num_local_experts: 8 }, /num_local_experts 8 is not supported: supported: 0/],
  [
    {
      model_type: 'ministral3',
      head_dim: 16,
      rope_parameters: { rope_type: 'linear', factor: 2, partial_rotary_factor: 0.5, llama_4_scaling_beta: 1 },
    },
    /partial_rotary_factor 0\.5 is not supported: llama_4_scaling_beta needs whole heads/,
  ],
  [{ model_type: 'llama', hidden_act: 'gelu' }, /hidden_act "gelu" is not supported: supported: silu/],
  [{ model_type: 'gemma2', hidden_activation: 'gelu' }, /hidden_activation "gelu" is not supported/],
  [{ model_type: 'gemma2', use_bidirectional_attention: true }, /use_bidirectional_attention true/],
  [{ model_type: 'qwen2', layer_types: ['full_attention'] }, /expected a list of 6 values for layer_types/],
  [{ model_type: 'qwen2', layer_types: Array(6).fill('chunked_attention') }, /layer_types "chunked_attention"/],
  [{ model_type: 'gpt2', n_embd: 64, n_head: 4, n_layer: 1, add_cross_attention: true }, /add_cross_attention true/],
  [
    { model_type: 'qwen3', rope_parameters: { full_attention: { rope_theta: 1 } } },
    /rope settings: full_attention {"rope_theta":1} is not supported: these layers have no settings of their own/,
  ],
  [
    { model_type: 'phi3', rope_scaling: { type: 'longrope', long_factor: [1], short_factor: [1] } },
    /expected 8 positive numbers for short_factor but found \[1\]/,
  ],
  [{ model_type: 'llama', eos_token_id: 'two' }, /a token id or a list of them for eos_token_id but found "two"/],
  [
    { model_type: 'llama', vocab_size: 8, eos_token_id: [2, 8] },
    /vocabulary, from 0 to 7, for eos_token_id but found 8\./,
  ],
  [{ model_type: 'llama', rope_scaling: { type: 'ntk', factor: 2 } }, /rope_type "ntk"/],
  [{ model_type: 'llama', rope_scaling: { type: 'dynamic', factor: -2 } }, /a number above 0 for factor but found -2/],
  [{ model_type: 'gemma2', sliding_window: -16 }, /a positive integer or null for sliding_window but found -16/],
  [{ model_type: 'mistral', sliding_window: 2.5 }, /a positive integer or null for sliding_window but found 2\.5/],
  [{ model_type: 'gemma3_text', sliding_window: 0 }, /a positive integer or null for sliding_window but found 0/],
  [{ model_type: 'gemma2', query_pre_attn_scalar: 0 }, /a number above 0 for query_pre_attn_scalar but found 0/],
  [{ model_type: 'granite', logits_scaling: -8 }, /a number above 0 for logits_scaling but found -8/],
  // A value may have any type, also one that JavaScript cannot turn into text.
  [{ model_type: 'llama', rope_scaling: { rope_type: { toString: 1 } } }, /rope_type {"toString":1} is not supported/],
  [
    { model_type: 'gpt2', n_embd: 64, n_head: 4, n_layer: 1, activation_function: { toString: 1 } },
    /activation_function {"toString":1} is not supported/,
  ],
  [{ model_type: 'llama', hidden_act: Array(40).fill(0) }, /^config\.json: hidden_act \[.{56}\.\.\. is not supported/],
  [JSON.parse('{ "model_type": "llama", "rms_norm_eps": 1e999 }'), /a number for rms_norm_eps but found Infinity/],
  [{ model_type: 'llama', num_key_value_heads: 3 }, /4 heads, 3 key-value heads and head size 16 do not fit/],
  [
    { model_type: 'gpt2', n_embd: 64, n_head: 4, n_layer: 1, scale_attn_by_inverse_layer_idx: true },
    /inverse_layer_idx/,
  ],
])('%j is refused', (json, message) => {
  expect(() => parseConfig({ ...sizes, ...json }, 'config.json')).toThrow(message)
})
