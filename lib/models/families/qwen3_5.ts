import { InputError } from '../../common/errors.js'
import type { AttentionPlan, DeltaNetPlan, LinearPlan, NormPlan } from '../network/plan.js'
import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import {
  type Defaults,
  layerTypes,
  linearsAt,
  llamaBlock,
  llamaNetwork,
  readLlama,
  rmsNorms,
  withQueryKeyNorms,
} from './parts.js'

/** Values of the class, which configurations may leave out. */
const defaults: Defaults = {
  vocabularySize: 248_320,
  hiddenSize: 4096,
  intermediateSize: 12_288,
  layers: 32,
  heads: 16,
  keyValueHeads: 4,
  headSize: 256,
  maxPositions: 32_768,
  partial: 0.25,
}

/**
 * The text model of Qwen3.5, 3.6 and 3.8, without experts: gated delta nets (arXiv 2412.06464), and after each three of them a
 * layer of attention with a gate of its output.
 */
export const qwen3_5: Family = {
  modelType: 'qwen3_5_text',
  published: 'Qwen3.5, 3.6 and 3.8 (dense)',

  read(read) {
    // Of the layers that predict more tokens, which checkpoints keep apart, and of the precision of other programs.
    for (const key of ['mtp_num_hidden_layers', 'mtp_use_dedicated_embeddings', 'mamba_ssm_dtype']) read.value(key)
    read.require('attn_output_gate', [true], true)
    const { sizes, rotary, norm: normOfResults } = readLlama(read, defaults)
    const norm = rmsNorms(read.number('rms_norm_eps', 1e-6), 1)
    const bias = read.flag('attention_bias')
    const deltaNet = readDeltaNet(read, sizes.hiddenSize, normOfResults)
    const hasAttention = readLayers(read, sizes.layers)
    return {
      sizes,
      tiedEmbeddings: read.flag('tie_word_embeddings'),
      network: llamaNetwork(sizes, norm, (i) => {
        const biases = { queryKeyValue: bias, attentionOutput: bias }
        const block = withQueryKeyNorms(llamaBlock(sizes, i, { norm, rotary, biases }), norm, 'head')
        return { ...block, mixer: hasAttention(i) ? withOutputGate(block.mixer) : deltaNet(i) }
      }),
    }
  },

  gguf: null,
}

/** Returns whether a layer has attention: by `layer_types`, or every fourth, or every `full_attention_interval`-th. */
function readLayers(read: ConfigReader, layers: number): (layer: number) => boolean {
  const interval = read.integer('full_attention_interval', 4)
  const types = layerTypes(read, layers, ['full_attention', 'linear_attention'])
  return (i) => (types ? types[i] === 'full_attention' : (i + 1) % interval === 0)
}

/** Makes room for the gates, which each head's query has behind it. */
function withOutputGate(attention: AttentionPlan): AttentionPlan {
  const [query, ...others] = attention.projections as [LinearPlan, ...LinearPlan[]]
  return { ...attention, gated: true, projections: [{ ...query, outFeatures: 2 * query.outFeatures }, ...others] }
}

/** Returns the delta net of each layer. */
function readDeltaNet(
  read: ConfigReader,
  hiddenSize: number,
  norm: (name: string, size: number) => NormPlan,
): (layer: number) => DeltaNetPlan {
  const shape = {
    keyHeads: read.integer('linear_num_key_heads', 16),
    valueHeads: read.integer('linear_num_value_heads', 32),
    keySize: read.integer('linear_key_head_dim', 128),
    valueSize: read.integer('linear_value_head_dim', 128),
  }
  const { keyHeads, valueHeads, keySize, valueSize } = shape
  if (valueHeads % keyHeads !== 0) {
    throw new InputError(
      'malformed-file',
      `${read.source}: ${valueHeads} linear_num_value_heads are no multiple of ${keyHeads} linear_num_key_heads.`,
    )
  }
  const length = read.integer('linear_conv_kernel_dim', 4)
  const [values, channels] = [valueHeads * valueSize, 2 * keyHeads * keySize + valueHeads * valueSize]
  return (i) => {
    const path = `model.layers.${i}.linear_attn`
    const linear = linearsAt(path)
    return {
      kind: 'deltaNet',
      shape,
      projections: [
        linear('in_proj_qkv', channels, hiddenSize),
        linear('in_proj_z', values, hiddenSize),
        linear('in_proj_b', valueHeads, hiddenSize),
        linear('in_proj_a', valueHeads, hiddenSize),
      ],
      convolution: { name: `${path}.conv1d`, channels, length, bias: false },
      logRate: { name: `${path}.A_log`, size: valueHeads },
      stepBias: { name: `${path}.dt_bias`, size: valueHeads },
      norm: norm(`${path}.norm`, valueSize),
      output: linear('out_proj', hiddenSize, values),
    }
  }
}
