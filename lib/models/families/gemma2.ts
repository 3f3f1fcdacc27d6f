import { float32 } from '../../io/gguf-writer.js'
import { windowField } from '../gguf/fields.js'
import { llamaNamesWith } from '../gguf/names.js'
import { type AttentionPlan, attentionsOf, type DecoderBlockPlan, type NormPlan } from '../network/plan.js'
import type { Family } from './family.js'
import { gemmaRest, readGemma } from './gemma.js'
import { layerWindows, llamaBlock, llamaModel } from './parts.js'
import { readRotary } from './rotary-settings.js'

/** GGUF's names of Gemma 2's and 3's norms that differ from Llama's. */
export const normNames = {
  post_attention_norm: 'post_attention_layernorm',
  ffn_norm: 'pre_feedforward_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
}

/**
 * Gemma 2 (arXiv 2408.00118): Gemma with norms on both sides of attention and MLP, softly capped scores and logits, and a
 * window in every other layer.
 */
export const gemma2: Family = {
  modelType: 'gemma2',
  published: 'Gemma 2',

  read(read) {
    const { sizes, norm, ...alike } = readGemma(read, { maxPositions: 8192 })
    const windows = layerWindows(read, sizes, read.number('sliding_window', 4096), (i) => i % 2 === 0)
    const options = {
      ...alike,
      norm,
      rotary: readRotary(read, sizes),
      softcap: read.optionalNumber('attn_logit_softcapping', 50),
      scale: read.positive('query_pre_attn_scalar', 256) ** -0.5,
    }
    return llamaModel(
      read,
      { sizes, norm, tied: true },
      (i) => gemmaNorms(llamaBlock(sizes, i, { ...options, window: windows[i] }), norm, i),
      gemmaRest(sizes, read.optionalNumber('final_logit_softcapping', 30)),
    )
  },

  gguf: {
    architecture: 'gemma2',
    className: 'Gemma2ForCausalLM',
    names: llamaNamesWith(normNames),
    addsOffsets: true,
    config(metadata) {
      const { layers, heads, headSize, hiddenSize } = metadata
      return {
        hidden_activation: 'gelu_pytorch_tanh',
        ...metadata.llamaConfig(),
        // Not in the file: the 27B model scales by its hidden size per head, others by the head size.
        query_pre_attn_scalar: layers === 46 ? hiddenSize / heads : headSize,
        attn_logit_softcapping: metadata.number('attn_logit_softcapping', 50),
        final_logit_softcapping: metadata.number('final_logit_softcapping', 30),
        sliding_window: metadata.number('attention.sliding_window', 4096),
      }
    },
    fields: (config) => ({
      attn_logit_softcapping: float32(attentionsOf(config.network)[0]!.softmax.softcap ?? 0),
      final_logit_softcapping: float32(config.network.logits.softcap ?? 0),
      ...windowField(config),
    }),
  },
}

/** Norms of Gemma 2 and 3: before and after attention, before and after the MLP. */
export function gemmaNorms(
  block: DecoderBlockPlan<AttentionPlan>,
  norm: (name: string, size: number) => NormPlan,
  index: number,
): DecoderBlockPlan<AttentionPlan> {
  const { size } = block.beforeMixer!
  const named = (name: string) => norm(`model.layers.${index}.${name}`, size)
  return {
    ...block,
    afterMixer: named('post_attention_layernorm'),
    beforeMlp: named('pre_feedforward_layernorm'),
    afterMlp: named('post_feedforward_layernorm'),
  }
}
