/** Models whose sizes trigger llama.cpp's exceptions: rows that fill no blocks, keys shared by many heads, tied heads. */
const common = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  bos_token_id: 1,
  eos_token_id: 2,
  initializer_range: 0.05,
}

const sizes = (
  /** @type {number} */ hidden,
  /** @type {number} */ intermediate,
  /** @type {number} */ layers,
  /** @type {[number, number]} */ [heads, keyValueHeads],
  /** @type {number} */ vocabulary,
) => ({
  hidden_size: hidden,
  intermediate_size: intermediate,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: keyValueHeads,
  vocab_size: vocabulary,
})

/** Makes `config.json` with the special sizes. */
export const SHAPES = {
  'eight heads share keys, tied': { ...common, ...sizes(512, 1024, 9, [8, 1], 1003), tie_word_embeddings: true },
  'four heads share keys, an MLP of 1376': { ...common, ...sizes(256, 1376, 8, [4, 1], 517) },
  'an MLP of 344': { ...common, ...sizes(320, 344, 3, [5, 5], 300) },
  'rows of 288, tied': { ...common, ...sizes(288, 784, 17, [9, 3], 401), tie_word_embeddings: true },
  'Qwen2, tied': {
    ...common,
    ...sizes(256, 688, 10, [8, 2], 311),
    architectures: ['Qwen2ForCausalLM'],
    model_type: 'qwen2',
    tie_word_embeddings: true,
  },
}

const small = { ...common, ...sizes(64, 96, 6, [4, 2], 0), head_dim: 16, initializer_range: 0.2, rms_norm_eps: 1e-6 }
const windows = (/** @type {string} */ pattern) =>
  [...pattern].map((kind) => (kind === 'w' ? 'sliding_attention' : 'full_attention'))
const gemma4 = {
  ...small,
  model_type: 'gemma4_text',
  layer_types: windows('wwfwwf'),
  sliding_window: 4,
  global_head_dim: 32,
  hidden_activation: 'gelu_pytorch_tanh',
  hidden_size_per_layer_input: 0,
  final_logit_softcapping: 30,
  tie_word_embeddings: true,
}

/**
 * Makes `config.json` of small models of families that llama.cpp computes in ways of their own, without `vocab_size`. The layers
 * before those that share keys and values end with one of each kind, as llama.cpp expects.
 */
export const FAMILIES = {
  'Ministral 3': { ...small, model_type: 'ministral3', original_max_position_embeddings: 32 },
  LFM2: {
    ...small,
    model_type: 'lfm2',
    norm_eps: 1e-5,
    block_auto_adjust_ff_dim: false,
    layer_types: ['conv', 'conv', 'full_attention', 'conv', 'full_attention', 'conv'],
  },
  'Granite 4': {
    ...small,
    model_type: 'granitemoehybrid',
    num_local_experts: 0,
    shared_intermediate_size: 96,
    layer_types: windows('ffffff'),
    position_embedding_type: 'rope',
    embedding_multiplier: 12,
    attention_multiplier: 0.08,
    residual_multiplier: 0.22,
    logits_scaling: 4,
  },
  'Granite 4 without rotary embedding': {
    ...small,
    model_type: 'granitemoehybrid',
    num_local_experts: 0,
    shared_intermediate_size: 96,
    layer_types: windows('ffffff'),
    position_embedding_type: 'nope',
  },
  'Qwen3.5': {
    ...small,
    model_type: 'qwen3_5_text',
    head_dim: 32,
    linear_num_key_heads: 2,
    linear_num_value_heads: 6,
    linear_key_head_dim: 32,
    linear_value_head_dim: 32,
    rope_parameters: { rope_type: 'default', rope_theta: 10000, partial_rotary_factor: 0.25, mrope_section: [2, 1, 1] },
  },
  'Gemma 4 E2B': {
    ...gemma4,
    layer_types: windows('wwfwfwf'),
    num_hidden_layers: 7,
    num_key_value_heads: 1,
    hidden_size_per_layer_input: 8,
    num_kv_shared_layers: 2,
    use_double_wide_mlp: true,
  },
  'Gemma 4 31B': { ...gemma4, attention_k_eq_v: true, num_global_key_value_heads: 1 },
}
