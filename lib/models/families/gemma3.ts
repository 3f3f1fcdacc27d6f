import { float32, uint32 } from '../../io/gguf-writer.js'
import { windowField } from '../gguf/fields.js'
import { llamaNamesWith, queryKeyNorms } from '../gguf/names.js'
import { attentionsOf } from '../network/plan.js'
import type { Family } from './family.js'
import { gemmaRest, readGemma } from './gemma.js'
import { gemmaNorms, normNames } from './gemma2.js'
import { type Defaults, hasWindow, layerWindows, llamaBlock, llamaModel, withQueryKeyNorms } from './parts.js'
import { readRotaries } from './rotary-settings.js'

/** The 4B model's sizes, which its configuration leaves out. */
const defaults: Defaults = {
  vocabularySize: 262_208,
  hiddenSize: 2304,
  intermediateSize: 9216,
  layers: 26,
  heads: 8,
  keyValueHeads: 4,
  maxPositions: 131_072,
}

/**
 * Gemma 3 (arXiv 2503.19786), text only: norms of queries and keys, and for each layer with full attention five that have a
 * window and their own rotary base.
 */
export const gemma3: Family = {
  modelType: 'gemma3_text',
  published: 'Gemma 3',

  read(read) {
    const { sizes, norm, ...alike } = readGemma(read, defaults)
    const pattern = read.integer('sliding_window_pattern', read.integer('_sliding_window_pattern', 6))
    const isLocal = hasWindow(read, sizes, pattern)
    const windows = layerWindows(read, sizes, read.number('sliding_window', 4096), isLocal)
    const localTheta = read.number('rope_local_base_freq', 10000)
    const { global, local } = readRotaries(read, { ...sizes, theta: 1_000_000, localTheta })
    const options = {
      ...alike,
      norm,
      softcap: read.optionalNumber('attn_logit_softcapping'),
      scale: read.positive('query_pre_attn_scalar', 256) ** -0.5,
    }
    return llamaModel(
      read,
      { sizes, norm, tied: true },
      (i) => {
        const block = llamaBlock(sizes, i, { ...options, rotary: isLocal(i) ? local : global, window: windows[i] })
        return withQueryKeyNorms(gemmaNorms(block, norm, i), norm, 'head')
      },
      gemmaRest(sizes, read.optionalNumber('final_logit_softcapping')),
    )
  },

  gguf: {
    architecture: 'gemma3',
    className: 'Gemma3ForCausalLM',
    names: llamaNamesWith({ ...normNames, ...queryKeyNorms }),
    addsOffsets: true,
    config(metadata) {
      const { layers, heads, headSize, hiddenSize } = metadata
      return {
        hidden_activation: 'gelu_pytorch_tanh',
        ...metadata.llamaConfig({ theta: 1_000_000 }),
        rope_local_base_freq: metadata.number('rope.freq_base_swa', 10000),
        // Not in the file: the 27B model scales by its hidden size per head, others by the head size.
        query_pre_attn_scalar: layers === 62 ? hiddenSize / heads : headSize,
        final_logit_softcapping: metadata.optionalNumber('final_logit_softcapping'),
        sliding_window: metadata.number('attention.sliding_window'),
        sliding_window_pattern: metadata.number('attention.sliding_window_pattern', 6),
      }
    },
    fields(config) {
      const { logits } = config.network
      const rotaries = attentionsOf(config.network).map(({ rotary }) => rotary!)
      const local = rotaries[0]!
      const pattern = 1 + rotaries.findIndex((rotary) => rotary !== local)
      return {
        'rope.freq_base_swa': float32(local.theta),
        ...windowField(config),
        ...(pattern > 0 && { 'attention.sliding_window_pattern': uint32(pattern) }),
        ...(logits.softcap !== null && { final_logit_softcapping: float32(logits.softcap) }),
      }
    },
  },
}
