import { bool } from '../../io/gguf-writer.js'
import { pairedRows } from '../gguf/layout.js'
import { llamaNamesWith } from '../gguf/names.js'
import { attentionsOf } from '../network/plan.js'
import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import { graniteConfig, graniteFields, graniteRest, readGraniteBlock } from './granite.js'
import { linearsAt, llamaModel, readLlama } from './parts.js'

/** Keys about state-space layers and experts, which have no effect where a model has neither. */
const ofOtherLayers =
  'intermediate_size mamba_chunk_size mamba_conv_bias mamba_d_conv mamba_d_head mamba_d_state mamba_expand mamba_n_groups ' +
  'mamba_n_heads mamba_proj_bias num_experts_per_tok output_router_logits router_aux_loss_coef time_step_limit'

/** The same in GGUF files, and the width of an MLP beside experts. */
const ignoredInGguf =
  'expert_shared_feed_forward_length ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size ssm.time_step_rank'

/** llama.cpp's key of whether there is a rotary embedding, which files of Granite 3 lack. */
const rotates = 'rope.scaling.finetuned'

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
    const hasRotary = read.value('position_embedding_type') === 'rope'
    const block = readGraniteBlock(read, sizes, { norm, rotary: hasRotary ? rotary : null, mlpBias: false })
    const { hiddenSize, intermediateSize } = sizes
    return llamaModel(
      read,
      { sizes, norm },
      (i) => {
        const { mlp, ...rest } = block(i)
        const linear = linearsAt(`model.layers.${i}.shared_mlp`)
        const projections = [linear('input_linear', 2 * intermediateSize, hiddenSize)]
        return { ...rest, mlp: { ...mlp, projections, down: linear('output_linear', hiddenSize, intermediateSize) } }
      },
      graniteRest(read),
    )
  },

  gguf: {
    architecture: 'granite',
    marker: rotates,
    className: 'GraniteMoeHybridForCausalLM',
    names: {
      ...llamaNamesWith({
        ffn_gate: 'shared_mlp.input_linear',
        ffn_up: 'shared_mlp.input_linear',
        ffn_down: 'shared_mlp.output_linear',
      }),
      inParts: true,
    },
    layout: pairedRows,
    config(metadata) {
      for (const key of ignoredInGguf.split(' ')) metadata.optionalNumber(key)
      const { intermediate_size, ...config } = graniteConfig(metadata)
      return {
        ...config,
        ...metadata.attentionBias(),
        shared_intermediate_size: intermediate_size!,
        num_local_experts: 0,
        layer_types: Array.from({ length: metadata.layers }, () => 'full_attention'),
        position_embedding_type: metadata.read.flag(metadata.key(rotates)) ? 'rope' : null,
      }
    },
    fields: (config) => ({
      ...graniteFields(config),
      [rotates]: bool(attentionsOf(config.network)[0]!.rotary !== null),
    }),
  },
}

/** Throws if layers are of another kind; older files say `attention`. */
function requireAttention(read: ConfigReader, layers: number): void {
  const types = read.list('layer_types', layers) ?? ['mamba']
  const other = types.find((type) => type !== 'attention' && type !== 'full_attention')
  if (other !== undefined) throw read.unsupported('layer_types', other, 'known is full_attention')
}
