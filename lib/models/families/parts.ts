/** Parts that families share: sizes, and blocks like Llama's. */
import { InputError } from '../../common/errors.js'
import type { Activation } from '../../native/addon.js'
import type { RotaryPlan } from '../../nn/rotary.js'
import type { ModelSizes } from '../network/model-config.js'
import type { AttentionPlan, DecoderBlockPlan, LinearPlan, NetworkPlan, NormPlan } from '../network/plan.js'
import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import { type RotaryDefaults, readRotary } from './rotary-settings.js'

/** Values for keys that a family's configurations may leave out. */
export interface Defaults extends Partial<ModelSizes>, Pick<RotaryDefaults, 'theta' | 'partial' | 'types'> {
  readonly epsilon?: number
}

/** Sizes under the names that nearly all families use, but for that of the MLP's width. */
export function readSizes(
  read: ConfigReader,
  defaults: Defaults = {},
  intermediateSize = 'intermediate_size',
): ModelSizes {
  const hiddenSize = read.integer('hidden_size', defaults.hiddenSize)
  const heads = read.integer('num_attention_heads', defaults.heads)
  const sizes: ModelSizes = {
    vocabularySize: read.integer('vocab_size', defaults.vocabularySize),
    hiddenSize,
    intermediateSize: read.integer(intermediateSize, defaults.intermediateSize),
    layers: read.layers('num_hidden_layers', defaults.layers),
    heads,
    keyValueHeads: read.integer('num_key_value_heads', defaults.keyValueHeads ?? heads),
    headSize: read.integer('head_dim', defaults.headSize ?? hiddenSize / heads),
    maxPositions: read.integer('max_position_embeddings', defaults.maxPositions ?? 2048),
  }
  requireHeads(read, sizes)
  return sizes
}

export function requireHeads({ source }: ConfigReader, { heads, keyValueHeads, headSize }: ModelSizes): void {
  if (heads % keyValueHeads === 0 && headSize % 2 === 0) return
  throw new InputError(
    'malformed-file',
    `${source}: ${heads} heads, ${keyValueHeads} key-value heads and head size ${headSize} do not fit together.`,
  )
}

/** Reads the keys that Llama-like families share, but rotary settings; their only activation is SiLU. */
export function readLlamaSizes(read: ConfigReader, defaults: Defaults = {}, intermediateSize?: string) {
  read.require('hidden_act', ['silu', 'swish'], 'silu')
  const norm = rmsNorms(read.number('rms_norm_eps', defaults.epsilon ?? 1e-6))
  return { sizes: readSizes(read, defaults, intermediateSize), norm }
}

/** Reads `attention_bias`: of queries, keys and values, and of attention's output. */
export function attentionBiases(read: ConfigReader) {
  const attention = read.flag('attention_bias')
  return { queryKeyValue: attention, attentionOutput: attention }
}

/** Like `readLlamaSizes`, with rotary settings, one for all layers. */
export function readLlama(read: ConfigReader, defaults: Defaults = {}, intermediateSize?: string) {
  const { sizes, norm } = readLlamaSizes(read, defaults, intermediateSize)
  const { theta, partial, types } = defaults
  return { sizes, rotary: readRotary(read, { ...sizes, theta, partial, types }), norm }
}

/**
 * Returns each layer's window by `layer_types`, or by `usual` where that is absent; null is full attention. A window as long as
 * the model's positions counts as full attention.
 */
export function layerWindows(
  read: ConfigReader,
  { layers, maxPositions }: ModelSizes,
  window: number | null,
  usual: (layer: number) => boolean,
): (number | null)[] {
  if (window !== null && !(Number.isInteger(window) && window > 0)) {
    throw read.malformed('sliding_window', 'a positive integer or null', window)
  }
  const types = read.list('layer_types', layers)
  return Array.from({ length: layers }, (_, i) => {
    const type = types?.[i] ?? (usual(i) ? 'sliding_attention' : 'full_attention')
    if (type !== 'sliding_attention' && type !== 'full_attention') {
      throw read.unsupported('layer_types', type, 'known are full_attention and sliding_attention')
    }
    return type === 'sliding_attention' && window !== null && window < maxPositions ? window : null
  })
}

/** Reads `layer_types`, all of them known ones; undefined where they are absent. */
export function layerTypes<Type extends string>(
  read: ConfigReader,
  layers: number,
  known: readonly [Type, Type],
): readonly Type[] | undefined {
  const isKnown = (type: unknown): type is Type => known.includes(type as Type)
  const types = read.list('layer_types', layers)
  if (types === undefined || types.every(isKnown)) return types
  const other = types.find((type) => !isKnown(type))
  throw read.unsupported('layer_types', other, `known are ${known.join(' and ')}`)
}

/** Returns whether a layer is of the kind with a window: by `layer_types`, or all but every `pattern`-th. */
export function hasWindow(read: ConfigReader, { layers }: ModelSizes, pattern: number): (layer: number) => boolean {
  const types = read.list('layer_types', layers)
  return (i) => (types ? types[i] === 'sliding_attention' : (i + 1) % pattern !== 0)
}

/** RMSNorm over the hidden states unless `size` says otherwise. */
export function rmsNorms(epsilon: number, weightOffset = 0): (name: string, size: number) => NormPlan {
  return (name, size) => ({ name, kind: 'rms', size, epsilon, weightOffset })
}

/** Returns a function that makes linear layers below a path. */
export const linearsAt =
  (path: string) =>
  (name: string, outFeatures: number, inFeatures: number, bias = false): LinearPlan => ({
    name: `${path}.${name}`,
    outFeatures,
    inFeatures,
    bias,
  })

interface LlamaBlockOptions {
  readonly norm: (name: string, size: number) => NormPlan
  readonly rotary: RotaryPlan | null
  /** Biases of query, key and value; of the attention's output; of the MLP. */
  readonly biases?: { readonly queryKeyValue?: boolean; readonly attentionOutput?: boolean; readonly mlp?: boolean }
  readonly activation?: Activation
  readonly window?: number | null
  readonly softcap?: number | null
  /** The factor of scores; default 1/√headSize. */
  readonly scale?: number
}

/** Returns Llama's block `index` under its checkpoints' names: norms before attention and MLP, a gated MLP. */
export function llamaBlock(
  sizes: ModelSizes,
  index: number,
  options: LlamaBlockOptions,
): DecoderBlockPlan<AttentionPlan> {
  const { hiddenSize, heads, keyValueHeads, headSize, intermediateSize } = sizes
  const { norm, rotary, biases = {}, activation = 'silu', window = null, softcap = null } = options
  const path = `model.layers.${index}`
  const linear = linearsAt(path)
  const [queries, keysValues] = [heads * headSize, keyValueHeads * headSize]
  return {
    beforeMixer: norm(`${path}.input_layernorm`, hiddenSize),
    mixer: {
      kind: 'attention',
      shape: { heads, keyValueHeads, headSize },
      projections: [
        linear('self_attn.q_proj', queries, hiddenSize, biases.queryKeyValue),
        linear('self_attn.k_proj', keysValues, hiddenSize, biases.queryKeyValue),
        linear('self_attn.v_proj', keysValues, hiddenSize, biases.queryKeyValue),
      ],
      queryNorm: null,
      keyNorm: null,
      rotary,
      softmax: { scale: options.scale ?? 1 / Math.sqrt(headSize), window, softcap },
      output: linear('self_attn.o_proj', hiddenSize, queries, biases.attentionOutput),
    },
    afterMixer: null,
    beforeMlp: norm(`${path}.post_attention_layernorm`, hiddenSize),
    mlp: {
      projections: [
        linear('mlp.gate_proj', intermediateSize, hiddenSize, biases.mlp),
        linear('mlp.up_proj', intermediateSize, hiddenSize, biases.mlp),
      ],
      activation,
      gated: true,
      down: linear('mlp.down_proj', hiddenSize, intermediateSize, biases.mlp),
    },
    afterMlp: null,
    residualScale: 1,
  }
}

/** Adds norms of queries and keys to a block: over each head, or over all of them together. */
export function withQueryKeyNorms(
  block: DecoderBlockPlan<AttentionPlan>,
  norm: (name: string, size: number) => NormPlan,
  over: 'head' | 'heads',
): DecoderBlockPlan<AttentionPlan> {
  const { heads, keyValueHeads, headSize } = block.mixer.shape
  const [query, key] = block.mixer.projections as [LinearPlan, LinearPlan]
  const named = ({ name }: LinearPlan, count: number) =>
    norm(name.replace(/_proj$/, '_norm'), over === 'head' ? headSize : count * headSize)
  return {
    ...block,
    mixer: { ...block.mixer, queryNorm: named(query, heads), keyNorm: named(key, keyValueHeads) },
  }
}

/** Returns a model of such blocks; its head is tied if the configuration says so, or by `tied`. */
export function llamaModel(
  read: ConfigReader,
  { sizes, norm, tied }: { sizes: ModelSizes; norm: (name: string, size: number) => NormPlan; tied?: boolean },
  block: (index: number) => DecoderBlockPlan,
  rest: Partial<NetworkPlan> = {},
): ReturnType<Family['read']> {
  const network: NetworkPlan = {
    embeddings: 'model.embed_tokens',
    embeddingScale: 1,
    positions: null,
    blocks: Array.from({ length: sizes.layers }, (_, i) => block(i)),
    finalNorm: norm('model.norm', sizes.hiddenSize),
    head: 'lm_head',
    logits: { scale: 1, softcap: null },
    transposedLinears: false,
    basePrefix: 'model.',
    ...rest,
  }
  return { sizes, tiedEmbeddings: read.flag('tie_word_embeddings', tied), network }
}
