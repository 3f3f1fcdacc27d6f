import { llamaNamesWith, queryKeyNorms } from '../gguf/names.js'
import type { Family } from './family.js'
import { attentionBiases, llamaBlock, llamaModel, readLlama, withQueryKeyNorms } from './parts.js'
import { qwenWindows } from './qwen2.js'

/** Qwen3 (arXiv 2505.09388), without experts: Llama with a norm of each head's query and key. */
export const qwen3: Family = {
  modelType: 'qwen3',
  published: 'Qwen3 (dense)',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read, { headSize: 128, maxPositions: 32768 })
    const windows = qwenWindows(read, sizes)
    const biases = attentionBiases(read)
    return llamaModel(read, { sizes, norm }, (i) =>
      withQueryKeyNorms(llamaBlock(sizes, i, { norm, rotary, biases, window: windows[i] }), norm, 'head'),
    )
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
