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
