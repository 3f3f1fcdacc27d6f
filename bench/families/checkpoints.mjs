/**
 * The shapes of much used checkpoints, by hub id: what their `config.json` says of the network. `period`: after how many blocks
 * the kinds of blocks repeat.
 */

const llama3 = (factor) => ({
  rope_theta: 500_000,
  rope_scaling: {
    rope_type: 'llama3',
    factor,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  },
})

/** Sizes under the names that most families share. */
const sizes = (hidden, intermediate, layers, [heads, keyValueHeads], headSize, vocabulary) => ({
  hidden_size: hidden,
  intermediate_size: intermediate,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: keyValueHeads,
  head_dim: headSize,
  vocab_size: vocabulary,
})

const llama = { model_type: 'llama', architectures: ['LlamaForCausalLM'], rms_norm_eps: 1e-5, hidden_act: 'silu' }
const qwen3 = { model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], rms_norm_eps: 1e-6, hidden_act: 'silu' }

/** @type {Record<string, { config: Record<string, any>, period?: number }>} */
export const CHECKPOINTS = {
  'HuggingFaceTB/SmolLM2-135M-Instruct': {
    config: { ...llama, ...sizes(576, 1536, 30, [9, 3], 64, 49_152), rope_theta: 100_000, tie_word_embeddings: true },
  },
  'meta-llama/Llama-3.2-1B-Instruct': {
    config: { ...llama, ...sizes(2048, 8192, 16, [32, 8], 64, 128_256), ...llama3(32), tie_word_embeddings: true },
  },
  'meta-llama/Llama-3.1-8B-Instruct': {
    config: { ...llama, ...sizes(4096, 14_336, 32, [32, 8], 128, 128_256), ...llama3(8), tie_word_embeddings: false },
  },
  'Qwen/Qwen3-0.6B': {
    config: { ...qwen3, ...sizes(1024, 3072, 28, [16, 8], 128, 151_936), rope_theta: 1e6, tie_word_embeddings: true },
  },
  'Qwen/Qwen3-4B-Instruct-2507': {
    config: { ...qwen3, ...sizes(2560, 9728, 36, [32, 8], 128, 151_936), rope_theta: 5e6, tie_word_embeddings: true },
  },
  'Qwen/Qwen2.5-7B-Instruct': {
    config: {
      model_type: 'qwen2',
      architectures: ['Qwen2ForCausalLM'],
      ...sizes(3584, 18_944, 28, [28, 4], 128, 152_064),
      rms_norm_eps: 1e-6,
      hidden_act: 'silu',
      rope_theta: 1e6,
      tie_word_embeddings: false,
    },
  },
  'Qwen/Qwen3.5-4B': {
    period: 4,
    config: {
      model_type: 'qwen3_5_text',
      architectures: ['Qwen3_5ForCausalLM'],
      ...sizes(2560, 9216, 32, [16, 4], 256, 248_320),
      rms_norm_eps: 1e-6,
      hidden_act: 'silu',
      linear_conv_kernel_dim: 4,
      linear_key_head_dim: 128,
      linear_num_key_heads: 16,
      linear_num_value_heads: 32,
      linear_value_head_dim: 128,
      layer_types: Array.from({ length: 32 }, (_, i) => (i % 4 === 3 ? 'full_attention' : 'linear_attention')),
      rope_parameters: { rope_type: 'default', rope_theta: 1e7, partial_rotary_factor: 0.25 },
      tie_word_embeddings: true,
    },
  },
  'google/gemma-3-4b-it': {
    period: 6,
    config: {
      model_type: 'gemma3_text',
      architectures: ['Gemma3ForCausalLM'],
      ...sizes(2560, 10_240, 34, [8, 4], 256, 262_208),
      rms_norm_eps: 1e-6,
      hidden_activation: 'gelu_pytorch_tanh',
      query_pre_attn_scalar: 256,
      sliding_window: 1024,
      rope_theta: 1e6,
      rope_local_base_freq: 10_000,
      rope_scaling: { rope_type: 'linear', factor: 8 },
    },
  },
  'google/gemma-4-E2B-it': {
    period: 10,
    config: {
      model_type: 'gemma4_text',
      architectures: ['Gemma4ForCausalLM'],
      ...sizes(1536, 6144, 35, [8, 1], 256, 262_144),
      rms_norm_eps: 1e-6,
      hidden_activation: 'gelu_pytorch_tanh',
      global_head_dim: 512,
      hidden_size_per_layer_input: 256,
      vocab_size_per_layer_input: 262_144,
      num_kv_shared_layers: 20,
      use_double_wide_mlp: true,
      sliding_window: 512,
      final_logit_softcapping: 30,
      layer_types: Array.from({ length: 35 }, (_, i) => (i % 5 === 4 ? 'full_attention' : 'sliding_attention')),
      rope_parameters: {
        full_attention: { rope_type: 'proportional', rope_theta: 1e6, partial_rotary_factor: 0.25 },
        sliding_attention: { rope_type: 'default', rope_theta: 10_000 },
      },
    },
  },
  'microsoft/Phi-4-mini-instruct': {
    config: {
      model_type: 'phi3',
      architectures: ['Phi3ForCausalLM'],
      ...sizes(3072, 8192, 32, [24, 8], 128, 200_064),
      rms_norm_eps: 1e-5,
      hidden_act: 'silu',
      partial_rotary_factor: 0.75,
      tie_word_embeddings: true,
    },
  },
  'HuggingFaceTB/SmolLM3-3B': {
    period: 4,
    config: {
      model_type: 'smollm3',
      architectures: ['SmolLM3ForCausalLM'],
      ...sizes(2048, 11_008, 36, [16, 4], 128, 128_256),
      rms_norm_eps: 1e-6,
      hidden_act: 'silu',
      rope_theta: 5e6,
      no_rope_layer_interval: 4,
      tie_word_embeddings: true,
    },
  },
  'LiquidAI/LFM2-1.2B': {
    period: 8,
    config: {
      model_type: 'lfm2',
      architectures: ['Lfm2ForCausalLM'],
      ...sizes(2048, 12_288, 16, [32, 8], 64, 65_536),
      block_auto_adjust_ff_dim: true,
      block_multiple_of: 256,
      block_ffn_dim_multiplier: 1,
      norm_eps: 1e-5,
      conv_L_cache: 3,
      conv_bias: false,
      layer_types: [2, 5, 8, 10, 12, 14].reduce(
        (types, layer) => types.with(layer, 'full_attention'),
        Array(16).fill('conv'),
      ),
      rope_theta: 1e6,
      tie_word_embeddings: true,
    },
  },
  'mistralai/Ministral-3-3B-Instruct-2512-BF16': {
    config: {
      model_type: 'ministral3',
      architectures: ['Ministral3ForCausalLM'],
      ...sizes(3072, 9216, 26, [32, 8], 128, 131_072),
      rms_norm_eps: 1e-5,
      hidden_act: 'silu',
      tie_word_embeddings: true,
    },
  },
  'allenai/Olmo-3-7B-Instruct': {
    period: 4,
    config: {
      model_type: 'olmo3',
      architectures: ['Olmo3ForCausalLM'],
      ...sizes(4096, 11_008, 32, [32, 32], 128, 100_278),
      rms_norm_eps: 1e-6,
      hidden_act: 'silu',
      sliding_window: 4096,
      rope_theta: 500_000,
      rope_scaling: {
        rope_type: 'yarn',
        factor: 8,
        original_max_position_embeddings: 8192,
        attention_factor: 1.2079441541679836,
        beta_fast: 32,
        beta_slow: 1,
      },
      tie_word_embeddings: false,
    },
  },
  'ibm-granite/granite-4.0-micro': {
    config: {
      model_type: 'granitemoehybrid',
      architectures: ['GraniteMoeHybridForCausalLM'],
      ...sizes(2560, 8192, 40, [40, 8], 64, 100_352),
      shared_intermediate_size: 8192,
      num_local_experts: 0,
      num_experts_per_tok: 0,
      layer_types: Array(40).fill('attention'),
      position_embedding_type: 'rope',
      rms_norm_eps: 1e-5,
      hidden_act: 'silu',
      rope_theta: 1e7,
      embedding_multiplier: 12,
      attention_multiplier: 0.015625,
      residual_multiplier: 0.22,
      logits_scaling: 10,
      tie_word_embeddings: true,
    },
  },
}

/**
 * Returns the configuration cut to fewer blocks, for rows of up to `positions` tokens. Where blocks share keys and values, half of
 * them do, about as many as in the whole.
 */
export function cutConfig({ config }, layers, { positions, vocabulary = config.vocab_size }) {
  const { layer_types: types, ...rest } = config
  return {
    ...rest,
    num_hidden_layers: layers,
    vocab_size: vocabulary,
    max_position_embeddings: positions,
    initializer_range: 0.02,
    ...(types && { layer_types: types.slice(0, layers) }),
    ...(config.num_kv_shared_layers && { num_kv_shared_layers: layers / 2 }),
    ...(config.vocab_size_per_layer_input && { vocab_size_per_layer_input: vocabulary }),
  }
}
