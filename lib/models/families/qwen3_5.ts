import { InputError } from '../../common/errors.js'
import { list, uint32 } from '../../io/gguf-writer.js'
import type { JsonObject } from '../../io/json.js'
import type { TensorLayout } from '../gguf/layout.js'
import { llamaNamesWith, queryKeyNorms } from '../gguf/names.js'
import type { ModelConfig } from '../network/model-config.js'
import { type AttentionPlan, type DeltaNetPlan, deltaNetsOf, type LinearPlan, type NormPlan } from '../network/plan.js'
import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import {
  type Defaults,
  layerTypes,
  linearsAt,
  llamaBlock,
  llamaModel,
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
    return llamaModel(read, { sizes, norm }, (i) => {
      const biases = { queryKeyValue: bias, attentionOutput: bias }
      const block = withQueryKeyNorms(llamaBlock(sizes, i, { norm, rotary, biases }), norm, 'head')
      return { ...block, mixer: hasAttention(i) ? withOutputGate(block.mixer) : deltaNet(i) }
    })
  },

  gguf: {
    architecture: 'qwen35',
    className: 'Qwen3_5ForCausalLM',
    names: {
      ...llamaNamesWith({
        ...queryKeyNorms,
        post_attention_norm: 'post_attention_layernorm',
        attn_qkv: 'linear_attn.in_proj_qkv',
        attn_gate: 'linear_attn.in_proj_z',
        ssm_beta: 'linear_attn.in_proj_b',
        ssm_alpha: 'linear_attn.in_proj_a',
        ssm_conv1d: 'linear_attn.conv1d',
        ssm_norm: 'linear_attn.norm',
        ssm_out: 'linear_attn.out_proj',
      }),
      whole: { ssm_a: 'linear_attn.A_log', 'ssm_dt.bias': 'linear_attn.dt_bias' },
    },
    addsOffsets: true,
    layout: layoutOfTensor,
    config(metadata) {
      const { read, layers, headSize } = metadata
      const key = (name: string) => metadata.key(name)
      const rotated = metadata.number('rope.dimension_count', headSize / 4)
      const { rope_theta, rope_scaling, ...config } = metadata.llamaConfig({ rotated })
      const interval = metadata.number('full_attention_interval', 4)
      const isRecurrent = read.flagsOfLayers(key('attention.recurrent_layers'))
      const valueHeads = metadata.number('ssm.time_step_rank')
      return {
        hidden_act: 'silu',
        ...config,
        rope_parameters: {
          rope_theta: rope_theta!,
          ...((rope_scaling as JsonObject | null) ?? { rope_type: 'default' }),
          partial_rotary_factor: rotated / headSize,
          mrope_section: read.counts(key('rope.dimension_sections'), 4).slice(0, 3),
          mrope_interleaved: true,
        },
        linear_num_key_heads: metadata.number('ssm.group_count'),
        linear_num_value_heads: valueHeads,
        linear_key_head_dim: metadata.number('ssm.state_size'),
        linear_value_head_dim: metadata.number('ssm.inner_size') / valueHeads,
        linear_conv_kernel_dim: metadata.number('ssm.conv_kernel'),
        layer_types: Array.from({ length: layers }, (_, i) =>
          (isRecurrent ? isRecurrent[i] : (i + 1) % interval !== 0) ? 'linear_attention' : 'full_attention',
        ),
      }
    },
    fields({ network, json }) {
      const [deltaNet] = deltaNetsOf(network)
      const { keyHeads, valueHeads, keySize, valueSize } = deltaNet?.shape ?? usualShape
      const isRecurrent = network.blocks.map(({ mixer }) => mixer.kind === 'deltaNet')
      const interval = isRecurrent.indexOf(false) + 1 || isRecurrent.length + 1
      const isRegular = isRecurrent.every((recurrent, i) => recurrent === ((i + 1) % interval !== 0))
      return {
        'rope.dimension_sections': list('int32', sectionsOf(json)),
        'ssm.conv_kernel': uint32(deltaNet?.convolution.length ?? 4),
        'ssm.state_size': uint32(keySize),
        'ssm.group_count': uint32(keyHeads),
        'ssm.time_step_rank': uint32(valueHeads),
        'ssm.inner_size': uint32(valueHeads * valueSize),
        full_attention_interval: uint32(interval),
        // Older versions of llama.cpp know intervals only.
        ...(!isRegular && { 'attention.recurrent_layers': list('bool', isRecurrent) }),
      }
    },
  },
}

const usualShape = { keyHeads: 16, valueHeads: 32, keySize: 128, valueSize: 128 }

/** Returns the sections of positions (M-RoPE), which only images need. */
function sectionsOf(json: JsonObject): number[] {
  const inner = Object(json.text_config ?? json)
  const { mrope_section: sections } = Object(inner.rope_parameters ?? inner.rope_scaling)
  return [...(Array.isArray(sections) ? sections : [11, 11, 10]), 0].map(Number)
}

/**
 * Returns how llama.cpp's converter stores a delta net's tensors: value head v of key head k comes at v · (key heads) + k, as its
 * operations repeat keys; ours at k · (value heads of each) + v.
 */
function layoutOfTensor(tensor: string, { network }: ModelConfig): TensorLayout | null {
  const [deltaNet] = deltaNetsOf(network)
  const stem = /^blk\.\d+\.(\w+)/.exec(tensor)?.[1]
  if (!deltaNet) return null
  const { keyHeads, valueHeads, keySize, valueSize } = deltaNet.shape
  const each = valueHeads / keyHeads
  const ofHeads = (size: number, before = 0): Int32Array | undefined =>
    each === 1
      ? undefined
      : Int32Array.from({ length: before + valueHeads * size }, (_, row) => {
          if (row < before) return row
          const [head, inHead] = [Math.floor((row - before) / size), (row - before) % size]
          return before + ((head % each) * keyHeads + Math.floor(head / each)) * size + inHead
        })
  switch (stem) {
    case 'attn_qkv':
    case 'ssm_conv1d':
      return { rows: ofHeads(valueSize, 2 * keyHeads * keySize) }
    case 'attn_gate':
      return { rows: ofHeads(valueSize) }
    case 'ssm_alpha':
    case 'ssm_beta':
    case 'ssm_dt':
      return { rows: ofHeads(1) }
    case 'ssm_a':
      return { rows: ofHeads(1), isNegatedExponential: true }
    case 'ssm_out':
      return { columns: ofHeads(1) }
    default:
      return null
  }
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
    keyHeads: read.integer('linear_num_key_heads', usualShape.keyHeads),
    valueHeads: read.integer('linear_num_value_heads', usualShape.valueHeads),
    keySize: read.integer('linear_key_head_dim', usualShape.keySize),
    valueSize: read.integer('linear_value_head_dim', usualShape.valueSize),
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
