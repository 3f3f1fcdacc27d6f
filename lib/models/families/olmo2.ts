import { llamaNamesWith, queryKeyNorms } from '../gguf/names.js'
import type { ModelSizes } from '../network/model-config.js'
import type { AttentionPlan, DecoderBlockPlan, NormPlan } from '../network/plan.js'
import type { Family } from './family.js'
import { attentionBiases, llamaBlock, llamaModel, readLlama, withQueryKeyNorms } from './parts.js'

/** GGUF's names of OLMo 2 and 3. */
export const olmoNames = llamaNamesWith({
  ...queryKeyNorms,
  post_attention_norm: 'post_attention_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
})

/** OLMo 2 (arXiv 2501.00656): norms after attention and MLP, and of all queries and all keys of a token together. */
export const olmo2: Family = {
  modelType: 'olmo2',
  published: 'OLMo 2',

  read(read) {
    const { sizes, rotary, norm } = readLlama(read, { epsilon: 1e-5 })
    const biases = attentionBiases(read)
    return llamaModel(read, { sizes, norm }, (i) =>
      withNormsAfter(llamaBlock(sizes, i, { norm, rotary, biases }), sizes, norm, i),
    )
  },

  gguf: {
    architecture: 'olmo2',
    className: 'Olmo2ForCausalLM',
    names: olmoNames,
    config: (metadata) => ({
      hidden_act: 'silu',
      ...metadata.llamaConfig(),
      ...metadata.attentionBias(),
    }),
  },
}

/** Moves a block's norms behind attention and MLP, and adds norms of queries and keys. */
export function withNormsAfter(
  block: DecoderBlockPlan<AttentionPlan>,
  { hiddenSize }: ModelSizes,
  norm: (name: string, size: number) => NormPlan,
  index: number,
): DecoderBlockPlan<AttentionPlan> {
  return {
    ...withQueryKeyNorms(block, norm, 'heads'),
    beforeMixer: null,
    afterMixer: norm(`model.layers.${index}.post_attention_layernorm`, hiddenSize),
    beforeMlp: null,
    afterMlp: norm(`model.layers.${index}.post_feedforward_layernorm`, hiddenSize),
  }
}
