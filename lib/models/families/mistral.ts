import type { Family } from './family.js'
import { llama } from './llama.js'
import { type Defaults, layerWindows, llamaBlock, llamaModel, readLlama } from './parts.js'

/** Values of the class, which configurations may leave out. */
const defaults: Defaults = {
  vocabularySize: 32_000,
  hiddenSize: 4096,
  intermediateSize: 14_336,
  layers: 32,
  heads: 32,
  keyValueHeads: 8,
  maxPositions: 131_072,
}

/** Mistral 7B and its relatives (arXiv 2310.06825): Llama with a sliding window. GGUF files call it `llama`. */
export const mistral: Family = {
  modelType: 'mistral',
  published: 'Mistral',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read, defaults)
    const windows = layerWindows(read, sizes, read.optionalNumber('sliding_window', 4096), () => true)
    return llamaModel(read, { sizes, norm }, (i) => llamaBlock(sizes, i, { norm, rotary, window: windows[i] }))
  },

  gguf: llama.gguf,
}
