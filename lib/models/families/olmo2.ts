import { llamaNamesWith, queryKeyNorms } from '../gguf/names.js'
import type { Family } from './family.js'
import { llamaBlock, llamaNetwork, readLlama, withQueryKeyNorms } from './parts.js'

/** OLMo 2 (arXiv 2501.00656): norms after attention and MLP, and of all queries and all keys of a token together. */
export const olmo2: Family = {
  modelType: 'olmo2',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read, { epsilon: 1e-5 })
    const attention = read.flag('attention_bias')
    const biases = { queryKeyValue: attention, attentionOutput: attention }
    return {
      sizes,
      tiedEmbeddings: read.flag('tie_word_embeddings'),
      network: llamaNetwork(sizes, norm, (i) => {
        const block = withQueryKeyNorms(llamaBlock(sizes, i, { norm, rotary, biases }), norm, 'heads')
        return {
          ...block,
          beforeAttention: null,
          afterAttention: norm(`model.layers.${i}.post_attention_layernorm`, sizes.hiddenSize),
          beforeMlp: null,
          afterMlp: norm(`model.layers.${i}.post_feedforward_layernorm`, sizes.hiddenSize),
        }
      }),
    }
  },

  gguf: {
    architecture: 'olmo2',
    className: 'Olmo2ForCausalLM',
    names: llamaNamesWith({
      ...queryKeyNorms,
      post_attention_norm: 'post_attention_layernorm',
      post_ffw_norm: 'post_feedforward_layernorm',
    }),
    config: (metadata) => ({
      hidden_act: 'silu',
      ...metadata.llamaConfig(),
      ...metadata.attentionBias(),
    }),
  },
}
