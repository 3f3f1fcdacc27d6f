import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import { graniteRest, readGraniteBlock } from './granite.js'
import { linearsAt, llamaNetwork, readLlama } from './parts.js'

/** Keys about state-space layers and experts, which have no effect where a model has neither. */
const ofOtherLayers =
  'intermediate_size mamba_chunk_size mamba_conv_bias mamba_d_conv mamba_d_head mamba_d_state mamba_expand mamba_n_groups ' +
  'mamba_n_heads mamba_proj_bias num_experts_per_tok output_router_logits router_aux_loss_coef time_step_limit'

/** Granite 4 of attention alone (micro, 350M, 1B): Granite 3 with gate and up in one layer; some have no rotary embedding. */
export const granite4: Family = {
  modelType: 'granitemoehybrid',
  published: 'Granite 4 of attention alone',

  read(read) {
    for (const key of ofOtherLayers.split(' ')) read.value(key)
    read.require('num_local_experts', [0], undefined)
    const { sizes, rotary, norm } = readLlama(read, {}, 'shared_intermediate_size')
    requireAttention(read, sizes.layers)
    read.require('position_embedding_type', ['rope', 'nope', null], null)
    const rotates = read.value('position_embedding_type') === 'rope'
    const block = readGraniteBlock(read, sizes, { norm, rotary: rotates ? rotary : null, mlpBias: false })
    const { hiddenSize, intermediateSize } = sizes
    return {
      sizes,
      tiedEmbeddings: read.flag('tie_word_embeddings'),
      network: llamaNetwork(
        sizes,
        norm,
        (i) => {
          const { mlp, ...rest } = block(i)
          const linear = linearsAt(`model.layers.${i}.shared_mlp`)
          const projections = [linear('input_linear', 2 * intermediateSize, hiddenSize)]
          return { ...rest, mlp: { ...mlp, projections, down: linear('output_linear', hiddenSize, intermediateSize) } }
        },
        graniteRest(read),
      ),
    }
  },

  gguf: null,
}

/** Throws if layers are of another kind; older files say `attention`. */
function requireAttention(read: ConfigReader, layers: number): void {
  const types = read.list('layer_types', layers) ?? ['mamba']
  const other = types.find((type) => type !== 'attention' && type !== 'full_attention')
  if (other !== undefined) throw read.unsupported('layer_types', other, 'known is full_attention')
}
