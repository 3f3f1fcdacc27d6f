import { pairedRows } from '../gguf/layout.js'
import { llamaNames } from '../gguf/names.js'
import type { Family } from './family.js'
import { llamaBlock, llamaNetwork, readLlama } from './parts.js'

/** Llama 1 to 3.x and models of the same architecture (arXiv 2302.13971): SmolLM2, TinyLlama, … */
export const llama: Family = {
  modelType: 'llama',
  published: 'Llama 1–3.x, SmolLM2, TinyLlama',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read)
    const attention = read.flag('attention_bias')
    const biases = { queryKeyValue: attention, attentionOutput: attention, mlp: read.flag('mlp_bias') }
    return {
      sizes,
      tiedEmbeddings: read.flag('tie_word_embeddings'),
      network: llamaNetwork(sizes, norm, (i) => llamaBlock(sizes, i, { norm, rotary, biases })),
    }
  },

  gguf: {
    architecture: 'llama',
    className: 'LlamaForCausalLM',
    names: llamaNames,
    layout: pairedRows,
    config: (metadata) => ({
      hidden_act: 'silu',
      ...metadata.llamaConfig(),
      ...metadata.biases(),
    }),
  },
}
