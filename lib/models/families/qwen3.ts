import { llamaNamesWith, queryKeyNorms } from '../gguf/names.js'
import type { Family } from './family.js'
import { attentionBiases, llamaBlock, llamaNetwork, readLlama, withQueryKeyNorms } from './parts.js'
import { qwenWindows } from './qwen2.js'

/** Qwen3 (arXiv 2505.09388), without experts: Llama with a norm of each head's query and key. */
export const qwen3: Family = {
  modelType: 'qwen3',
  published: 'Qwen3 (dense)',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read, { headSize: 128, maxPositions: 32768 })
    const windows = qwenWindows(read, sizes)
    const biases = attentionBiases(read)
    return {
      sizes,
      tiedEmbeddings: read.flag('tie_word_embeddings'),
      network: llamaNetwork(sizes, norm, (i) => {
        const block = llamaBlock(sizes, i, { norm, rotary, biases, window: windows[i] ?? null })
        return withQueryKeyNorms(block, norm, 'head')
      }),
    }
  },

  gguf: {
    architecture: 'qwen3',
    className: 'Qwen3ForCausalLM',
    names: llamaNamesWith(queryKeyNorms),
    config: (metadata) => ({
      hidden_act: 'silu',
      ...metadata.llamaConfig(),
      ...metadata.attentionBias(),
    }),
  },
}
