import { pairedRows } from '../gguf/layout.js'
import { llamaNames } from '../gguf/names.js'
import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import { attentionBiases, llamaBlock, llamaModel, readLlama } from './parts.js'

/** Llama 1 to 3.x and models of the same architecture (arXiv 2302.13971): SmolLM2, TinyLlama, … */
export const llama = {
  modelType: 'llama',
  published: 'Llama 1–3.x, SmolLM2, TinyLlama',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read)
    const biases = llamaBiases(read)
    return llamaModel(read, { sizes, norm }, (i) => llamaBlock(sizes, i, { norm, rotary, biases }))
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
} satisfies Family

/** Reads Llama's biases: of attention and of the MLP. */
export function llamaBiases(read: ConfigReader) {
  return { ...attentionBiases(read), mlp: read.flag('mlp_bias') }
}
