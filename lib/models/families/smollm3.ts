import type { Family } from './family.js'
import { llama, llamaBiases } from './llama.js'
import { layerWindows, llamaBlock, llamaModel, readLlama } from './parts.js'

/** SmolLM3: Llama in which every fourth layer has no rotary embedding (NoPE, arXiv 2501.18795). */
export const smollm3: Family = {
  modelType: 'smollm3',
  published: 'SmolLM3',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read, { maxPositions: 32768, theta: 2_000_000 })
    const biases = llamaBiases(read)
    const interval = read.integer('no_rope_layer_interval', 4)
    const rotates = read.list('no_rope_layers', sizes.layers)
    const hasRotary = (i: number) => (rotates ? rotates[i] === 1 : (i + 1) % interval !== 0)
    const window = read.optionalNumber('sliding_window')
    const windows = layerWindows(read, sizes, read.flag('use_sliding_window') ? window : null, (i) => !hasRotary(i))
    return llamaModel(read, { sizes, norm, tied: true }, (i) =>
      llamaBlock(sizes, i, { norm, rotary: hasRotary(i) ? rotary : null, biases, window: windows[i] }),
    )
  },

  gguf: {
    ...llama.gguf,
    architecture: 'smollm3',
    className: 'SmolLM3ForCausalLM',
    config: (metadata) => ({ ...llama.gguf.config(metadata), no_rope_layer_interval: 4 }),
  },
}
