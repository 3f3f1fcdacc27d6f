import { list } from '../../io/gguf-writer.js'
import { windowField } from '../gguf/fields.js'
import { attentionsOf } from '../network/plan.js'
import type { Family } from './family.js'
import { olmoNames, withNormsAfter } from './olmo2.js'
import { attentionBiases, hasWindow, layerWindows, llamaBlock, llamaModel, readLlamaSizes } from './parts.js'
import { readRotaries } from './rotary-settings.js'

/** OLMo 3 (arXiv 2512.13961): OLMo 2 with windows in three of four layers, whose rotary embedding is not scaled. */
export const olmo3: Family = {
  modelType: 'olmo3',
  published: 'OLMo 3',

  read(read) {
    const { sizes, norm } = readLlamaSizes(read, { epsilon: 1e-5 })
    const isLocal = hasWindow(read, sizes, 4)
    const windows = layerWindows(read, sizes, read.optionalNumber('sliding_window', 4096), isLocal)
    const { global, local } = readRotaries(read, { ...sizes, theta: 500_000 })
    const biases = attentionBiases(read)
    return llamaModel(read, { sizes, norm }, (i) => {
      const rotary = isLocal(i) ? local : global
      return withNormsAfter(llamaBlock(sizes, i, { norm, rotary, biases, window: windows[i] }), sizes, norm, i)
    })
  },

  gguf: {
    architecture: 'olmo2',
    marker: 'attention.sliding_window',
    className: 'Olmo3ForCausalLM',
    names: olmoNames,
    config(metadata) {
      const windowed = metadata.read.flagsOfLayers(metadata.key('attention.sliding_window_pattern'))
      return {
        hidden_act: 'silu',
        ...metadata.llamaConfig({ theta: 500_000, attentionFactor: true }),
        ...metadata.attentionBias(),
        sliding_window: metadata.number('attention.sliding_window'),
        layer_types: windowed?.map((isWindowed) => (isWindowed ? 'sliding_attention' : 'full_attention')) ?? null,
      }
    },
    fields(config) {
      const windowed = attentionsOf(config.network).map(({ softmax }) => softmax.window !== null)
      return { ...windowField(config), 'attention.sliding_window_pattern': list('bool', windowed) }
    },
  },
}
