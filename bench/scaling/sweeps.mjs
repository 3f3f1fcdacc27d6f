// Llama models of random weights, and the sizes that are varied one at a time.

/** Small enough for a minute, large enough that arithmetic decides. */
export const base = { width: 256, depth: 4, tokens: 512, rank: 8, vocabulary: 4096 }
const sweeps = {
  width: [128, 256, 512, 1024],
  depth: [2, 4, 8, 16],
  tokens: [256, 512, 1024, 2048],
  rank: [8, 16, 32, 64],
  vocabulary: [4096, 8192, 16384, 32768],
}
/** For tests: seconds. */
export const tinyBase = { width: 64, depth: 1, tokens: 64, rank: 2, vocabulary: 128 }
const tinySweeps = { width: [64, 128], depth: [1, 2], tokens: [64, 128], rank: [2, 4], vocabulary: [128, 256] }

/** Tokens of a document: more tokens are more documents, so that attention grows with them and not with their square. */
const documentLength = 64
const headSize = 64

/** `[{ name, points: [{ value, sizes }] }]` */
export function sweepsOf(tiny) {
  const [fixed, varied] = tiny ? [tinyBase, tinySweeps] : [base, sweeps]
  return Object.entries(varied).map(([name, values]) => ({
    name,
    points: values.map((value) => ({ value, sizes: { ...fixed, [name]: value } })),
  }))
}

export const batchShape = ({ tokens }) => ({ rows: tokens / documentLength, length: documentLength })

export function configOf({ width, depth, vocabulary }) {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: vocabulary,
    hidden_size: width,
    intermediate_size: 3 * width,
    num_hidden_layers: depth,
    num_attention_heads: width / headSize,
    num_key_value_heads: width / headSize,
    max_position_embeddings: documentLength,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
  }
}
