import { llamaNames } from '../gguf/names.js'
import type { ModelSizes } from '../network/model-config.js'
import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import { layerWindows, llamaBlock, llamaModel, readLlama } from './parts.js'

/** Qwen2 and Qwen2.5 (arXiv 2407.10671): Llama with biases of query, key and value. */
export const qwen2: Family = {
  modelType: 'qwen2',
  published: 'Qwen2 and 2.5',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read, { maxPositions: 32768 })
    const windows = qwenWindows(read, sizes)
    const biases = { queryKeyValue: true }
    return llamaModel(read, { sizes, norm }, (i) => llamaBlock(sizes, i, { norm, rotary, biases, window: windows[i] }))
  },

  gguf: {
    architecture: 'qwen2',
    className: 'Qwen2ForCausalLM',
    names: llamaNames,
    config: (metadata) => ({ hidden_act: 'silu', ...metadata.llamaConfig() }),
  },
}

/** Reads Qwen's windows: layers from `max_window_layers` on have one, if `use_sliding_window` is set. */
export function qwenWindows(read: ConfigReader, sizes: ModelSizes): (number | null)[] {
  const window = read.optionalNumber('sliding_window', 4096)
  const first = read.optionalNumber('max_window_layers') ?? 28
  return layerWindows(read, sizes, read.flag('use_sliding_window') ? window : null, (i) => i >= first)
}
