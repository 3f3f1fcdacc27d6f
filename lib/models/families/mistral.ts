import type { Family } from './family.js'
import { layerWindows, llamaBlock, llamaNetwork, readLlama } from './parts.js'

/** Mistral 7B and its relatives (arXiv 2310.06825): Llama with a sliding window. GGUF files call it `llama`. */
export const mistral: Family = {
  modelType: 'mistral',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read, { maxPositions: 131072 })
    const windows = layerWindows(read, sizes, read.optionalNumber('sliding_window', 4096), () => true)
    return {
      sizes,
      tiedEmbeddings: read.flag('tie_word_embeddings'),
      network: llamaNetwork(sizes, norm, (i) => llamaBlock(sizes, i, { norm, rotary, window: windows[i] ?? null })),
    }
  },

  gguf: null,
}
