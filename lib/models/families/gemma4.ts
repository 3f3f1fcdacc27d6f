import { float32, list, uint32 } from '../../io/gguf-writer.js'
import { isJsonObject, type JsonObject } from '../../io/json.js'
import { windowField } from '../gguf/fields.js'
import type { Fields } from '../gguf/gguf-family.js'
import type { GgufMetadata } from '../gguf/metadata.js'
import { llamaNames, llamaNamesWith, queryKeyNorms } from '../gguf/names.js'
import type { ModelConfig, ModelSizes } from '../network/model-config.js'
import { type AttentionPlan, attentionsOf, type DecoderBlockPlan, type NetworkPlan } from '../network/plan.js'
import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import { gemmaRest } from './gemma.js'
import { gemmaNorms, normNames } from './gemma2.js'
import {
  type Defaults,
  hasWindow,
  layerWindows,
  linearsAt,
  llamaBlock,
  llamaModel,
  readSizes,
  requireHeads,
  rmsNorms,
  withQueryKeyNorms,
} from './parts.js'
import { readRotaries } from './rotary-settings.js'

/** Values of the class, which configurations may leave out. */
const defaults: Defaults = {
  vocabularySize: 262_144,
  hiddenSize: 2304,
  intermediateSize: 9216,
  layers: 30,
  heads: 8,
  keyValueHeads: 4,
  headSize: 256,
  maxPositions: 131_072,
}

const parameters = {
  sliding_attention: { rope_type: 'default', rope_theta: 10_000 },
  full_attention: { rope_type: 'proportional', partial_rotary_factor: 0.25, rope_theta: 1_000_000 },
}

/** Keys about experts, which have no effect where a model has none. */
const ofExperts = ['num_experts', 'top_k_experts', 'moe_intermediate_size']

/**
 * Gemma 4 without experts (E2B, E4B, 31B), text only: Gemma 3 with larger heads in layers of full attention and normed values.
 * In some sizes keys are values, too, the last layers attend to keys and values of earlier ones, or every layer has an input of
 * its own.
 */
export const gemma4: Family = {
  modelType: 'gemma4_text',
  published: 'Gemma 4 without experts',

  read(read) {
    if (read.flag('enable_moe_block')) {
      throw read.unsupported('enable_moe_block', true, 'take a model that has no experts')
    }
    read.require('use_bidirectional_attention', ['vision', null], null)
    read.require('hidden_activation', ['gelu_pytorch_tanh'], 'gelu_pytorch_tanh')
    for (const key of ofExperts) read.value(key)
    const sizes = readSizes(read, defaults)
    const epsilon = read.number('rms_norm_eps', 1e-6)
    const norm = rmsNorms(epsilon)
    const layers = readLayers(read, sizes)
    const windows = layerWindows(read, sizes, read.integer('sliding_window', 512), (i) => layers[i]!.isLocal)
    const attention = read.flag('attention_bias')
    const options = {
      norm,
      biases: { queryKeyValue: attention, attentionOutput: attention },
      activation: 'geluTanh',
      scale: 1,
    } as const
    const perLayer = readPerLayerSize(read)
    const block = (i: number): DecoderBlockPlan => {
      const { isLocal, rotary, ...own } = layers[i]!
      const alike = llamaBlock({ ...sizes, ...own }, i, { ...options, rotary, window: isLocal ? windows[i]! : null })
      const { mixer, ...rest } = withQueryKeyNorms(gemmaNorms(alike, norm, i), norm, 'head')
      const path = `model.layers.${i}`
      return {
        ...rest,
        mixer: withSharing(mixer, layers[i]!, epsilon),
        ...(perLayer > 0 && { perLayer: perLayerGate(path, sizes, perLayer, norm) }),
        outputScale: { name: `${path}.layer_scalar` },
      }
    }
    return llamaModel(read, { sizes, norm, tied: true }, block, {
      ...gemmaRest(sizes, read.optionalNumber('final_logit_softcapping')),
      ...(perLayer > 0 && perLayerInputs(read, sizes, perLayer, norm)),
    })
  },

  gguf: {
    architecture: 'gemma4',
    className: 'Gemma4ForCausalLM',
    tokenizer: 'gemma4',
    names: {
      ...llamaNamesWith({
        ...normNames,
        ...queryKeyNorms,
        inp_gate: 'per_layer_input_gate',
        proj: 'per_layer_projection',
        post_norm: 'post_per_layer_input_norm',
      }),
      outer: {
        ...llamaNames.outer,
        per_layer_token_embd: 'model.embed_tokens_per_layer',
        per_layer_model_proj: 'model.per_layer_model_projection',
        per_layer_proj_norm: 'model.per_layer_projection_norm',
      },
      whole: { 'layer_output_scale.weight': 'layer_scalar' },
    },
    config: configOfFile,
    fields: fieldsOfFile,
  },
}

/** Gemma 4 that embeds images and sounds without towers (12B), text only: Gemma 4 with other defaults. */
export const gemma4Unified: Family = {
  ...gemma4,
  modelType: 'gemma4_unified_text',
  published: 'Gemma 4 12B',
  completed: (json) => ({
    max_position_embeddings: 262_144,
    sliding_window: 1024,
    ...json,
    // Its class has no inputs by layer, whatever a configuration says.
    hidden_size_per_layer_input: 0,
  }),
}

function configOfFile(metadata: GgufMetadata): JsonObject {
  const { read, layers, headSize, file } = metadata
  const counts = (name: string) => read.counts(metadata.key(name), layers)
  const isLocal = read.flagsOfLayers(metadata.key('attention.sliding_window_pattern'))
  if (isLocal?.length !== layers) throw read.unsupported('no attention.sliding_window_pattern for each layer')
  const global = isLocal.indexOf(false)
  const [widths, keyValueHeads] = [counts('feed_forward_length'), counts('attention.head_count_kv')]
  const localHeadSize = metadata.number('attention.key_length_swa', headSize)
  for (const name of ['attention.value_length_swa', 'rope.dimension_count_swa'])
    read.refuseUnless(metadata.key(name), localHeadSize)
  const { rope_theta, rope_scaling, ...config } = metadata.llamaConfig({
    theta: parameters.full_attention.rope_theta,
    intermediateSize: widths[0]!,
    keyValueHeads: keyValueHeads[Math.max(0, isLocal.indexOf(true))]!,
  })
  return {
    hidden_activation: 'gelu_pytorch_tanh',
    ...config,
    head_dim: localHeadSize,
    global_head_dim: headSize,
    num_global_key_value_heads: keyValueHeads[global]!,
    attention_k_eq_v: !file.tensors.has(`blk.${global}.attn_v.weight`),
    num_kv_shared_layers: metadata.number('attention.shared_kv_layers', 0),
    use_double_wide_mlp: widths.some((width) => width !== widths[0]),
    rope_parameters: {
      full_attention: { rope_theta: rope_theta!, ...((rope_scaling as JsonObject | null) ?? { rope_type: 'default' }) },
      sliding_attention: {
        rope_theta: metadata.number('rope.freq_base_swa', parameters.sliding_attention.rope_theta),
        rope_type: 'default',
      },
    },
    sliding_window: metadata.number('attention.sliding_window'),
    layer_types: isLocal.map((local) => (local ? 'sliding_attention' : 'full_attention')),
    final_logit_softcapping: metadata.optionalNumber('final_logit_softcapping'),
    hidden_size_per_layer_input: metadata.number('embedding_length_per_layer_input', 0),
    vocab_size_per_layer_input: file.tensors.get('per_layer_token_embd.weight')?.shape[0] ?? null,
  }
}

function fieldsOfFile(config: ModelConfig): Fields {
  const { blocks, perLayer, logits } = config.network
  const attentions = attentionsOf(config.network)
  // The last layer has no window; others of its kind are equal to it.
  const kindOf = ({ rotary, shape, softmax }: AttentionPlan) => JSON.stringify([rotary, shape.headSize, softmax.window])
  const global = attentions.at(-1)!
  const isLocal = attentions.map((attention) => kindOf(attention) !== kindOf(global))
  const local = attentions[isLocal.indexOf(true)] ?? global
  const { headSize } = global.shape
  return {
    ...windowField(config),
    'attention.sliding_window_pattern': list('bool', isLocal),
    'attention.key_length': uint32(headSize),
    'attention.value_length': uint32(headSize),
    'attention.key_length_swa': uint32(config.headSize),
    'attention.value_length_swa': uint32(config.headSize),
    'attention.head_count_kv': list(
      'int32',
      attentions.map(({ shape }) => shape.keyValueHeads),
    ),
    'attention.shared_kv_layers': uint32(attentions.filter(({ source }) => source !== undefined).length),
    feed_forward_length: list(
      'int32',
      blocks.map(({ mlp }) => mlp.down.inFeatures),
    ),
    'rope.dimension_count_swa': uint32(local.rotary!.headSize),
    'rope.freq_base_swa': float32(local.rotary!.theta),
    embedding_length_per_layer_input: uint32(perLayer?.size ?? 0),
    ...(logits.softcap !== null && { final_logit_softcapping: float32(logits.softcap) }),
  }
}

interface Layer extends Pick<ModelSizes, 'headSize' | 'keyValueHeads' | 'intermediateSize'> {
  /** Whether the layer has a window. */
  readonly isLocal: boolean
  readonly rotary: AttentionPlan['rotary']
  readonly keysAreValues: boolean
  /** As in `AttentionPlan`. */
  readonly source: number | undefined
  readonly isSource: boolean
}

/** Reads what differs between layers. */
function readLayers(read: ConfigReader, sizes: ModelSizes): Layer[] {
  const { layers } = sizes
  const inPattern = hasWindow(read, sizes, 6)
  const isLocal = Array.from({ length: layers }, (_, i) => i < layers - 1 && inPattern(i))
  const keysAreValues = read.flag('attention_k_eq_v')
  const headsOf = readHeads(read, sizes, keysAreValues)
  const rotaries = new Map<number, ReturnType<typeof readRotaries>>()
  const sources = readSources(read, isLocal)
  const widerBy = read.flag('use_double_wide_mlp') ? 2 : 1
  return isLocal.map((local, i) => {
    const heads = headsOf(i, local)
    requireHeads(read, { ...sizes, ...heads })
    const { headSize } = heads
    if (!rotaries.has(headSize)) rotaries.set(headSize, readRotaries(read, { ...sizes, headSize, parameters }))
    const source = sources[i]
    return {
      ...heads,
      intermediateSize: sizes.intermediateSize * (source === undefined ? 1 : widerBy),
      isLocal: local,
      rotary: rotaries.get(headSize)![local ? 'local' : 'global'],
      keysAreValues: keysAreValues && !local,
      source,
      isSource: sources.includes(i),
    }
  })
}

/** Reads the sizes of heads: by layer as transformers writes them, or of layers without a window as they are published. */
function readHeads(read: ConfigReader, { headSize, keyValueHeads }: ModelSizes, keysAreValues: boolean) {
  const byLayer = read.value('per_layer_config')
  const others = read.integer('num_global_key_value_heads', keyValueHeads)
  const ofGlobal = {
    headSize: read.integer('global_head_dim', 512),
    keyValueHeads: keysAreValues ? others : keyValueHeads,
  }
  if (byLayer === undefined) return (_: number, isLocal: boolean) => (isLocal ? { headSize, keyValueHeads } : ofGlobal)
  if (!isJsonObject(byLayer)) throw read.malformed('per_layer_config', 'an object', byLayer)
  return (layer: number) => {
    const own = byLayer[layer] ?? {}
    if (!isJsonObject(own)) throw read.malformed('per_layer_config', 'an object for each layer', own)
    const options = read.inside(own, `per_layer_config ${layer}`)
    const heads = {
      headSize: options.integer('head_dim', headSize),
      keyValueHeads: options.integer('num_key_value_heads', keyValueHeads),
    }
    const [other] = options.unread()
    if (other !== undefined) throw options.unsupported(other, own[other], 'layers differ in their heads only')
    return heads
  }
}

/** Returns the layer whose keys and values each of the last layers uses: the last of its kind that has its own. */
function readSources(read: ConfigReader, isLocal: readonly boolean[]): (number | undefined)[] {
  const shared = read.number('num_kv_shared_layers', 0)
  const own = isLocal.slice(0, isLocal.length - shared)
  const sources = isLocal.map((local, i) => (i < own.length ? undefined : own.lastIndexOf(local)))
  if (Number.isInteger(shared) && shared >= 0 && !sources.includes(-1)) return sources
  throw read.malformed(
    'num_kv_shared_layers',
    'a number of last layers, before which there is one of each kind',
    shared,
  )
}

function withSharing(
  { projections, ...attention }: AttentionPlan,
  { keysAreValues, source, isSource }: Layer,
  valueEpsilon: number,
): AttentionPlan {
  if (source !== undefined) return { ...attention, projections: projections.slice(0, 1), keyNorm: null, source }
  const own = keysAreValues ? projections.slice(0, 2) : projections
  return { ...attention, projections: own, valueEpsilon, ...(isSource && { isSource }) }
}

/** The size of every layer's own input; 0: none. */
function readPerLayerSize(read: ConfigReader): number {
  read.value('vocab_size_per_layer_input')
  const size = read.optionalNumber('hidden_size_per_layer_input', 256) ?? 0
  return size === 0 ? size : read.integer('hidden_size_per_layer_input', 256)
}

type MakeNorm = ReturnType<typeof rmsNorms>

function perLayerInputs(
  read: ConfigReader,
  { hiddenSize, layers }: ModelSizes,
  size: number,
  norm: MakeNorm,
): Pick<NetworkPlan, 'perLayer'> {
  const projection = {
    name: 'model.per_layer_model_projection',
    outFeatures: layers * size,
    inFeatures: hiddenSize,
    bias: false,
  }
  const table = 'model.embed_tokens_per_layer'
  const rows = read.integer('vocab_size_per_layer_input', defaults.vocabularySize)
  return { perLayer: { table, rows, size, projection, norm: norm('model.per_layer_projection_norm', size) } }
}

function perLayerGate(path: string, { hiddenSize }: ModelSizes, size: number, norm: MakeNorm) {
  const linear = linearsAt(path)
  return {
    gate: linear('per_layer_input_gate', size, hiddenSize),
    activation: 'geluTanh',
    projection: linear('per_layer_projection', hiddenSize, size),
    norm: norm(`${path}.post_per_layer_input_norm`, hiddenSize),
  } as const
}
