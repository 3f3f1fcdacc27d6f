import { windowField } from '../gguf/fields.js'
import { llamaNamesWith } from '../gguf/names.js'
import type { LinearPlan } from '../network/plan.js'
import type { Family } from './family.js'
import { layerWindows, llamaBlock, llamaModel, readLlama } from './parts.js'

/** The first checkpoints call LongRoPE `su`, or `yarn`. */
const rotaryTypes = { default: 'default', longrope: 'longrope', su: 'longrope', yarn: 'longrope' } as const

/** Phi-3 and Phi-4 mini (arXiv 2404.14219): Llama with query, key and value in one layer, gate and up in another. */
export const phi3: Family = {
  modelType: 'phi3',
  published: 'Phi-3, Phi-4 and Phi-4 mini',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read, {
      maxPositions: 4096,
      epsilon: 1e-5,
      partial: 1,
      types: rotaryTypes,
    })
    const windows = layerWindows(read, sizes, read.optionalNumber('sliding_window'), () => true)
    read.optionalNumber('original_max_position_embeddings')
    return llamaModel(read, { sizes, norm }, (i) => {
      const block = llamaBlock(sizes, i, { norm, rotary, window: windows[i] })
      const { mixer, mlp } = block
      return {
        ...block,
        mixer: { ...mixer, projections: [joined('qkv_proj', mixer.projections)] },
        mlp: { ...mlp, projections: [joined('gate_up_proj', mlp.projections)] },
      }
    })
  },

  gguf: {
    architecture: 'phi3',
    className: 'Phi3ForCausalLM',
    names: llamaNamesWith({ attn_qkv: 'self_attn.qkv_proj', ffn_up: 'mlp.gate_up_proj' }),
    config(metadata) {
      const { headSize } = metadata
      const rotated = metadata.number('rope.dimension_count', headSize)
      return {
        hidden_act: 'silu',
        ...metadata.llamaConfig({ rotated }),
        partial_rotary_factor: rotated / headSize,
        sliding_window: metadata.optionalNumber('attention.sliding_window') || null,
      }
    },
    fields: (config) => windowField(config),
  },
}

/** Returns one layer with the rows of several. */
function joined(name: string, layers: readonly LinearPlan[]): LinearPlan {
  const [first] = layers as [LinearPlan]
  return {
    ...first,
    name: first.name.replace(/\w+$/, name),
    outFeatures: layers.reduce((sum, { outFeatures }) => sum + outFeatures, 0),
  }
}
