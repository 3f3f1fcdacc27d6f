import { list, uint32 } from '../../io/gguf-writer.js'
import type { RotaryPlan } from '../../nn/rotary.js'
import { llamaNamesWith, queryKeyNorms } from '../gguf/names.js'
import type { ModelSizes } from '../network/model-config.js'
import type { DecoderBlockPlan, MixerPlan, NormPlan } from '../network/plan.js'
import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import { type Defaults, layerTypes, linearsAt, llamaBlock, llamaModel, readSizes, rmsNorms } from './parts.js'
import { readRotary } from './rotary-settings.js'

/** Values of the class, which configurations may leave out. */
const defaults: Defaults = {
  vocabularySize: 65_536,
  hiddenSize: 2560,
  intermediateSize: 12_288,
  layers: 32,
  heads: 32,
  keyValueHeads: 8,
  maxPositions: 128_000,
}

/** Keys of published configurations that transformers ignores: they repeat others, or are about initial values. */
const ignored =
  'block_dim block_mlp_init_scale block_norm_eps block_out_init_scale block_use_swiglu block_use_xavier_init conv_dim ' +
  'conv_dim_out conv_use_xavier_init num_heads use_pos_enc'

/** LFM2 and LFM2.5 (dense, arXiv 2511.23404): gated short convolutions, and attention in some layers. */
export const lfm2: Family = {
  modelType: 'lfm2',
  published: 'LFM2 and LFM2.5 (dense)',

  read(read) {
    for (const key of ignored.split(' ')) read.value(key)
    const sizes = { ...readSizes(read, defaults), intermediateSize: widthOfMlp(read) }
    const norm = rmsNorms(read.number('norm_eps', 1e-5))
    const rotary = readRotary(read, { ...sizes, theta: read.number('theta', 1_000_000) })
    const convolution = { length: read.integer('conv_L_cache', 3), bias: read.flag('conv_bias') }
    const hasAttention = readLayers(read, sizes.layers)
    const model = llamaModel(
      read,
      { sizes, norm, tied: true },
      (i) => {
        const block = blockOf(sizes, i, norm, rotary)
        return hasAttention(i) ? block : { ...block, mixer: shortConvolution(sizes.hiddenSize, i, convolution) }
      },
      { finalNorm: norm('model.embedding_norm', sizes.hiddenSize) },
    )
    // The first published checkpoints have this key, which wins.
    return { ...model, tiedEmbeddings: read.flag('tie_embedding', model.tiedEmbeddings) }
  },

  gguf: {
    architecture: 'lfm2',
    className: 'Lfm2ForCausalLM',
    names: {
      ...llamaNamesWith({
        ...queryKeyNorms,
        attn_norm: 'operator_norm',
        attn_q_norm: 'self_attn.q_layernorm',
        attn_k_norm: 'self_attn.k_layernorm',
        attn_output: 'self_attn.out_proj',
        ffn_norm: 'ffn_norm',
        ffn_gate: 'feed_forward.w1',
        ffn_up: 'feed_forward.w3',
        ffn_down: 'feed_forward.w2',
        'shortconv.in_proj': 'conv.in_proj',
        'shortconv.conv': 'conv.conv',
        'shortconv.out_proj': 'conv.out_proj',
      }),
      // llama.cpp's name of the final norm comes last: it is written, and Ollama's is read too.
      outer: {
        token_embd: 'model.embed_tokens',
        output: 'lm_head',
        output_norm: 'model.embedding_norm',
        token_embd_norm: 'model.embedding_norm',
      },
    },
    config(metadata) {
      const counts = metadata.read.counts(metadata.key('attention.head_count_kv'), metadata.layers)
      const { rms_norm_eps, ...config } = metadata.llamaConfig({ keyValueHeads: Math.max(...counts), theta: 1_000_000 })
      return {
        ...config,
        norm_eps: rms_norm_eps!,
        block_auto_adjust_ff_dim: false,
        conv_L_cache: metadata.number('shortconv.l_cache'),
        layer_types: counts.map((count) => (count > 0 ? 'full_attention' : 'conv')),
      }
    },
    fields({ network, keyValueHeads }) {
      const mixers = network.blocks.map(({ mixer }) => mixer)
      const convolutions = mixers.flatMap((mixer) => (mixer.kind === 'shortConvolution' ? mixer.convolution : []))
      const counts = mixers.map(({ kind }) => (kind === 'attention' ? keyValueHeads : 0))
      return {
        'attention.head_count_kv': list('int32', counts),
        'shortconv.l_cache': uint32(convolutions[0]?.length ?? 3),
      }
    },
  },
}

/** Reads the width of the MLP: two thirds of the given one, times a factor, rounded up to a multiple, unless it is as given. */
function widthOfMlp(read: ConfigReader): number {
  const given = read.integer('block_ff_dim', read.integer('intermediate_size', defaults.intermediateSize))
  const factor = read.optionalNumber('block_ffn_dim_multiplier', 1)
  const multiple = read.integer('block_multiple_of', 256)
  if (!read.flag('block_auto_adjust_ff_dim', true)) return given
  const reduced = Math.floor((2 * given) / 3)
  return factor === null ? reduced : multiple * Math.ceil(Math.floor(factor * reduced) / multiple)
}

/** Returns whether a layer has attention: by `layer_types`, or by the older `full_attn_idxs`; all have where neither is given. */
function readLayers(read: ConfigReader, layers: number): (layer: number) => boolean {
  const indices = read.value('full_attn_idxs')
  const types = layerTypes(read, layers, ['conv', 'full_attention'])
  if (types) return (i) => types[i] === 'full_attention'
  if (indices === undefined) return () => true
  if (Array.isArray(indices)) return (i) => indices.includes(i)
  throw read.malformed('full_attn_idxs', 'a list of layers', indices)
}

/** Returns block `index` with attention: Llama's with norms of queries and keys, under LFM2's names. */
function blockOf(
  sizes: ModelSizes,
  index: number,
  norm: (name: string, size: number) => NormPlan,
  rotary: RotaryPlan,
): DecoderBlockPlan {
  const { hiddenSize, headSize, intermediateSize } = sizes
  const path = `model.layers.${index}`
  const { mixer, mlp, ...block } = llamaBlock(sizes, index, { norm, rotary })
  const linear = linearsAt(`${path}.feed_forward`)
  return {
    ...block,
    beforeMixer: norm(`${path}.operator_norm`, hiddenSize),
    mixer: {
      ...mixer,
      queryNorm: norm(`${path}.self_attn.q_layernorm`, headSize),
      keyNorm: norm(`${path}.self_attn.k_layernorm`, headSize),
      output: { ...mixer.output, name: `${path}.self_attn.out_proj` },
    },
    beforeMlp: norm(`${path}.ffn_norm`, hiddenSize),
    mlp: {
      ...mlp,
      projections: [linear('w1', intermediateSize, hiddenSize), linear('w3', intermediateSize, hiddenSize)],
      down: linear('w2', hiddenSize, intermediateSize),
    },
  }
}

function shortConvolution(
  hiddenSize: number,
  index: number,
  { length, bias }: { readonly length: number; readonly bias: boolean },
): MixerPlan {
  const path = `model.layers.${index}.conv`
  const linear = linearsAt(path)
  return {
    kind: 'shortConvolution',
    projections: [linear('in_proj', 3 * hiddenSize, hiddenSize, bias)],
    convolution: { name: `${path}.conv`, channels: hiddenSize, length, bias },
    output: linear('out_proj', hiddenSize, hiddenSize, bias),
  }
}
