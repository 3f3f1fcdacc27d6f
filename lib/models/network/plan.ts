/** The structure of a model's network: every family describes its own with these types, and the decoder is built from them. */
import type { LayerFacts } from '../../adapters/contract/adapter.js'
import { SCORE_WEIGHT } from '../../adapters/contract/base-model.js'
import type { Activation } from '../../native/addon.js'
import type { RotaryPlan } from '../../nn/rotary.js'
import type { AttentionShape, Softmax } from '../../tensor/operations/attention.js'
import type { DeltaShape } from '../../tensor/operations/delta-rule.js'
import type { LogitsForm } from '../../tensor/operations/loss.js'

/** A linear layer; `name` is its module path in Hugging Face's checkpoints, as in all that follows. */
export interface LinearPlan extends LayerFacts {
  readonly bias: boolean
}

/** A vector that is no weight or bias of a layer; `name` is its whole name in checkpoints. */
interface VectorPlan {
  readonly name: string
  readonly size: number
}

/** RMSNorm, or LayerNorm with a bias, over rows of `size` values. */
export interface NormPlan {
  readonly name: string
  readonly kind: 'rms' | 'layer'
  readonly size: number
  readonly epsilon: number
  /** Added to the weight: 1 where checkpoints store its difference from 1. */
  readonly weightOffset: number
}

/** The linear layers of every mixer: layers that read the block's input, and one that makes its output. */
interface MixerLayers {
  readonly projections: readonly LinearPlan[]
  readonly output: LinearPlan
}

/**
 * Grouped-query attention. `projections`: query, key and value; one layer with the rows of all three; query and key, where
 * values are keys before their norm; or query alone, where keys and values are another block's.
 */
export interface AttentionPlan extends MixerLayers {
  readonly kind: 'attention'
  readonly shape: AttentionShape
  /** Norms of queries and keys, each over a head or over all of them. */
  readonly queryNorm: NormPlan | null
  readonly keyNorm: NormPlan | null
  /** The epsilon of a norm of values over each head, without a weight; absent: none. */
  readonly valueEpsilon?: number
  /** Index of the block whose keys and values it attends to; absent: its own. */
  readonly source?: number
  /** Whether other blocks attend to its keys and values. */
  readonly isSource?: boolean
  readonly rotary: RotaryPlan | null
  readonly softmax: Softmax
  /** Whether each head's query is followed by a gate, whose sigmoid multiplies the head's output. */
  readonly gated?: boolean
}

/** A depthwise causal convolution: each of its `channels` over `length` tokens. The weight is [channels, 1, length]. */
export interface ConvolutionPlan {
  readonly name: string
  readonly channels: number
  readonly length: number
  readonly bias: boolean
}

/** A gated short convolution. `projections`: one layer with the rows of both gates and the input. */
export interface ShortConvolutionPlan extends MixerLayers {
  readonly kind: 'shortConvolution'
  readonly convolution: ConvolutionPlan
}

/**
 * A gated delta net. `projections`: queries, keys and values, which pass the convolution; the output's gate; b, for the strength of
 * a token's write; and a, for the decay of the state.
 */
export interface DeltaNetPlan extends MixerLayers {
  readonly kind: 'deltaNet'
  readonly shape: DeltaShape
  readonly convolution: ConvolutionPlan
  /** The logarithm of the rate of decay. */
  readonly logRate: VectorPlan
  /** The bias of a. */
  readonly stepBias: VectorPlan
  /** The norm of each head's result. */
  readonly norm: NormPlan
}

/** The part of a block through which tokens act on later ones. */
export type MixerPlan = AttentionPlan | ShortConvolutionPlan | DeltaNetPlan

interface MlpPlan {
  /** Gate and up; or one layer with the rows of both; or, ungated, the only one before the activation. */
  readonly projections: readonly LinearPlan[]
  readonly activation: Activation
  readonly gated: boolean
  readonly down: LinearPlan
}

/** The part of a block that reads the block's own input of `size` values (`PerLayerInputsPlan`). */
interface PerLayerGatePlan {
  readonly gate: LinearPlan
  readonly activation: Activation
  readonly projection: LinearPlan
  readonly norm: NormPlan
}

/** A mixer and an MLP, each with a norm before or after it (or both) and a residual connection. */
export interface DecoderBlockPlan<Mixer extends MixerPlan = MixerPlan> {
  readonly beforeMixer: NormPlan | null
  readonly mixer: Mixer
  readonly afterMixer: NormPlan | null
  readonly beforeMlp: NormPlan | null
  readonly mlp: MlpPlan
  readonly afterMlp: NormPlan | null
  /** The factor of the outputs of mixer and MLP before they are added. */
  readonly residualScale: number
  readonly perLayer?: PerLayerGatePlan
  /** A constant [1] that multiplies the block's result; `name` is the tensor's. */
  readonly outputScale?: { readonly name: string }
}

/** Inputs of `size` values for each block, from a table with a row for each token, and from the token's embedding. */
interface PerLayerInputsPlan {
  readonly table: string
  readonly rows: number
  readonly size: number
  readonly projection: LinearPlan
  readonly norm: NormPlan
}

export interface NetworkPlan {
  readonly embeddings: string
  /** The factor of embeddings, rounded to the model's dtype. */
  readonly embeddingScale: number
  /** A table of learned positions, added to the embeddings. */
  readonly positions: string | null
  readonly perLayer?: PerLayerInputsPlan
  readonly blocks: readonly DecoderBlockPlan[]
  readonly finalNorm: NormPlan
  readonly head: string
  /** Transformation of the logits. */
  readonly logits: LogitsForm
  /** Checkpoints store weights of linear layers as [in, out] (GPT-2's Conv1D); in memory all are [out, in]. */
  readonly transposedLinears: boolean
  /** The prefix of names, which checkpoints of the network without its head lack. */
  readonly basePrefix: string
}

interface NetworkSizes {
  /** Names of the labels of its head, which is there in place of an output head then. */
  readonly labels?: readonly string[]
  readonly network: NetworkPlan
  readonly vocabularySize: number
  readonly hiddenSize: number
  readonly maxPositions: number
  readonly tiedEmbeddings: boolean
}

/** Returns the shape of every weight of a model by its name, in the order of the blocks; linear layers [out, in]. */
export function weightShapes(config: NetworkSizes): Map<string, readonly number[]> {
  const { network, vocabularySize, hiddenSize, maxPositions } = config
  const shapes = new Map<string, readonly number[]>()
  shapes.set(`${network.embeddings}.weight`, [vocabularySize, hiddenSize])
  if (network.positions) shapes.set(`${network.positions}.weight`, [maxPositions, hiddenSize])
  const norm = (plan: NormPlan | null) => {
    if (!plan) return
    shapes.set(`${plan.name}.weight`, [plan.size])
    if (plan.kind === 'layer') shapes.set(`${plan.name}.bias`, [plan.size])
  }
  const linear = ({ name, outFeatures, inFeatures, bias }: LinearPlan) => {
    shapes.set(`${name}.weight`, [outFeatures, inFeatures])
    if (bias) shapes.set(`${name}.bias`, [outFeatures])
  }
  const convolution = ({ name, channels, length, bias }: ConvolutionPlan) => {
    shapes.set(`${name}.weight`, [channels, 1, length])
    if (bias) shapes.set(`${name}.bias`, [channels])
  }
  const { perLayer: inputs } = network
  if (inputs) {
    shapes.set(`${inputs.table}.weight`, [inputs.rows, inputs.projection.outFeatures])
    linear(inputs.projection)
    norm(inputs.norm)
  }
  for (const { beforeMixer, mixer, afterMixer, beforeMlp, mlp, afterMlp, perLayer, outputScale } of network.blocks) {
    norm(beforeMixer)
    for (const projection of mixer.projections) linear(projection)
    for (const plan of normsOfMixer(mixer)) norm(plan)
    for (const plan of convolutionsOfMixer(mixer)) convolution(plan)
    for (const { name, size } of vectorsOfMixer(mixer)) shapes.set(name, [size])
    linear(mixer.output)
    norm(afterMixer)
    norm(beforeMlp)
    for (const projection of mlp.projections) linear(projection)
    linear(mlp.down)
    norm(afterMlp)
    if (perLayer) {
      linear(perLayer.gate)
      linear(perLayer.projection)
      norm(perLayer.norm)
    }
    if (outputScale) shapes.set(outputScale.name, [1])
  }
  norm(network.finalNorm)
  if (config.labels) shapes.set(SCORE_WEIGHT, [config.labels.length, hiddenSize])
  else if (!config.tiedEmbeddings) shapes.set(`${network.head}.weight`, [vocabularySize, hiddenSize])
  return shapes
}

/** Returns the attention of each block that has one. */
export function attentionsOf({ blocks }: NetworkPlan): AttentionPlan[] {
  return blocks.map(({ mixer }) => mixer).filter((mixer) => mixer.kind === 'attention')
}

/** Returns the kinds of rotary embedding in a network. */
export function rotaryPlans(network: NetworkPlan): RotaryPlan[] {
  const plans = attentionsOf(network)
    .map(({ rotary }) => rotary)
    .filter((plan) => plan !== null)
  return [...new Set(plans)]
}

/** Returns every norm of a network. */
export function normsOf({ perLayer, blocks, finalNorm }: NetworkPlan): NormPlan[] {
  const inBlocks = blocks.flatMap(({ mixer, ...block }) => [
    block.beforeMixer,
    block.afterMixer,
    block.beforeMlp,
    block.afterMlp,
    ...normsOfMixer(mixer),
    block.perLayer?.norm,
  ])
  return [perLayer?.norm, ...inBlocks, finalNorm].filter((norm) => norm !== null && norm !== undefined)
}

/** Returns the names of weights that are never trained: factors, which are 1 in a new model. */
export function constantsOf({ blocks }: NetworkPlan): ReadonlySet<string> {
  return new Set(blocks.flatMap(({ outputScale }) => outputScale?.name ?? []))
}

function normsOfMixer(mixer: MixerPlan): NormPlan[] {
  if (mixer.kind === 'deltaNet') return [mixer.norm]
  if (mixer.kind !== 'attention') return []
  return [mixer.queryNorm, mixer.keyNorm].filter((norm) => norm !== null)
}

function convolutionsOfMixer(mixer: MixerPlan): ConvolutionPlan[] {
  return mixer.kind === 'attention' ? [] : [mixer.convolution]
}

function vectorsOfMixer(mixer: MixerPlan): VectorPlan[] {
  return mixer.kind === 'deltaNet' ? [mixer.logRate, mixer.stepBias] : []
}

/** Returns the delta net of each block that has one. */
export function deltaNetsOf({ blocks }: NetworkPlan): DeltaNetPlan[] {
  return blocks.map(({ mixer }) => mixer).filter((mixer) => mixer.kind === 'deltaNet')
}

/** Returns the names of the weights that are float32 in memory, whatever the model's dtype. */
export function float32Weights(network: NetworkPlan): ReadonlySet<string> {
  const mixers = network.blocks.map(({ mixer }) => mixer)
  const parts = [...normsOf(network), ...mixers.flatMap(convolutionsOfMixer)]
  const vectors = mixers.flatMap(vectorsOfMixer).map(({ name }) => name)
  return new Set([
    ...parts.flatMap(({ name }) => [`${name}.weight`, `${name}.bias`]),
    ...vectors,
    ...constantsOf(network),
  ])
}

/** Returns the linear layers of the blocks and of their own inputs, in order. */
export function linearsOf({ perLayer, blocks }: NetworkPlan): LinearPlan[] {
  return [...(perLayer ? [perLayer.projection] : []), ...blocks.flatMap(linearGroups).flat()]
}

/** Returns the linear layers of a block, grouped by their input. */
export function linearGroups({ mixer, mlp, perLayer }: DecoderBlockPlan): (readonly LinearPlan[])[] {
  const ofInput = perLayer ? [[perLayer.gate], [perLayer.projection]] : []
  return [mixer.projections, [mixer.output], mlp.projections, [mlp.down], ...ofInput]
}

/** Returns the layers that can have adapters, without weights: the layers of the blocks, and untied embeddings and head. */
export function adaptableLayers({ network, tiedEmbeddings, ...sizes }: NetworkSizes): LayerFacts[] {
  const table = (name: string, role: LayerFacts['role']): LayerFacts[] =>
    tiedEmbeddings ? [] : [{ name, inFeatures: sizes.hiddenSize, outFeatures: sizes.vocabularySize, role }]
  return [...table(network.embeddings, 'embeddings'), ...linearsOf(network), ...table(network.head, 'head')]
}

/** Returns data in which texts that begin with one prefix begin with another. Parts without such texts stay the same objects. */
export function withPrefix<Part>(part: Part, from: string, to: string): Part {
  const renamed = (value: unknown): unknown => {
    if (typeof value === 'string') return value.startsWith(from) ? `${to}${value.slice(from.length)}` : value
    if (!(value instanceof Object)) return value
    const parts = Object.entries(value).map(([key, inner]) => [key, inner, renamed(inner)] as const)
    if (parts.every(([, before, after]) => before === after)) return value
    const after = parts.map(([key, , inner]) => [key, inner] as const)
    return Array.isArray(value) ? after.map(([, inner]) => inner) : Object.fromEntries(after)
  }
  return renamed(part) as Part
}

/** Returns the names of the weights that checkpoints store as [in, out]. */
export function transposedWeights(network: NetworkPlan): ReadonlySet<string> {
  return new Set(network.transposedLinears ? linearsOf(network).map(({ name }) => `${name}.weight`) : [])
}
