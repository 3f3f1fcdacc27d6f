import type { LayerFacts, LayerRole } from '../adapters/adapter.js'
import { Linear, LinearGroup } from '../nn/linear.js'
import { LinearInput } from '../nn/linear-input.js'
import { gatedActivation } from '../tensor/operations/activation.js'
import { attentionWithCache, selfAttention } from '../tensor/operations/attention.js'
import { addResidual, rmsNorm } from '../tensor/operations/norm.js'
import { scope } from '../tensor/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import type { ModelConfig } from './config.js'
import type { ForwardContext } from './forward-context.js'
import type { KeyValueCache } from './key-value-cache.js'
import { WeightSlot } from './weight-slot.js'

/** Gives weights by their names in Hugging Face's checkpoints, in the shapes that the configuration asks for. */
export interface WeightLoader {
  readonly config: ModelConfig
  /** A matrix or a bias, in the model's dtype. */
  weight(name: string): Tensor
  /** A norm's weight, float32. */
  norm(name: string): Tensor
  /** Matrices with equally many columns, one below the other in one tensor. */
  fused(names: readonly string[]): { whole: Tensor; parts: Tensor[] }
}

/** One block of the Llama family: attention and a gated MLP, each behind an RMSNorm and around a residual. */
export class LlamaBlock {
  readonly config: ModelConfig
  readonly queryKeyValue: LinearGroup
  readonly attentionOutput: Linear
  readonly gateUp: LinearGroup
  readonly down: Linear
  attentionNorm: Tensor
  mlpNorm: Tensor
  readonly slots: readonly WeightSlot[]

  constructor(
    readonly index: number,
    weights: WeightLoader,
  ) {
    const { attentionBias, mlpBias } = weights.config
    this.config = weights.config
    const path = `model.layers.${index}`
    const bias = (name: string, has: boolean) => (has ? weights.weight(`${path}.${name}.bias`) : null)
    const group = (names: string[], hasBias: boolean): LinearGroup => {
      const { whole, parts } = weights.fused(names.map((name) => `${path}.${name}.weight`))
      const layers = names.map((name, i) => new Linear(`${path}.${name}`, parts[i]!, bias(name, hasBias)))
      return new LinearGroup(layers, whole)
    }
    const single = (name: string, hasBias: boolean): Linear =>
      new Linear(`${path}.${name}`, weights.weight(`${path}.${name}.weight`), bias(name, hasBias))
    const attentionNorm = `${path}.input_layernorm.weight`
    const mlpNorm = `${path}.post_attention_layernorm.weight`
    this.attentionNorm = weights.norm(attentionNorm)
    this.queryKeyValue = group(['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'], attentionBias)
    this.attentionOutput = single('self_attn.o_proj', attentionBias)
    this.mlpNorm = weights.norm(mlpNorm)
    this.gateUp = group(['mlp.gate_proj', 'mlp.up_proj'], mlpBias)
    this.down = single('mlp.down_proj', mlpBias)
    this.slots = [
      WeightSlot.of(attentionNorm, this, 'attentionNorm'),
      ...[...this.queryKeyValue.layers, this.attentionOutput].flatMap(WeightSlot.ofLinear),
      WeightSlot.of(mlpNorm, this, 'mlpNorm'),
      ...[...this.gateUp.layers, this.down].flatMap(WeightSlot.ofLinear),
    ]
  }

  linears(): Linear[] {
    return [...this.queryKeyValue.layers, this.attentionOutput, ...this.gateUp.layers, this.down]
  }

  /** x [T, D] → [T, D] */
  forward(x: Tensor, context: ForwardContext): Tensor {
    return this.#around(x, context, (qkv) => selfAttention(qkv, this.config, context.rotary, context.offsets))
  }

  /** The same for new tokens of one document that continue a cache; no gradients. */
  forwardCached(x: Tensor, context: ForwardContext, cache: KeyValueCache): Tensor {
    const layer = cache.layers[this.index]!
    return this.#around(x, context, (qkv) => attentionWithCache(qkv, this.config, context.rotary, layer, cache.length))
  }

  #around(x: Tensor, { dropout }: ForwardContext, attend: (qkv: Tensor) => Tensor): Tensor {
    const { epsilon } = this.config
    return scope(() => {
      const normed = new LinearInput(rmsNorm(x, this.attentionNorm, epsilon), dropout)
      const attended = new LinearInput(attend(this.queryKeyValue.forward(normed)), dropout)
      const between = addResidual(this.attentionOutput.forward(attended), x)
      const normedAgain = new LinearInput(rmsNorm(between, this.mlpNorm, epsilon), dropout)
      const activated = new LinearInput(gatedActivation(this.gateUp.forward(normedAgain), 'silu'), dropout)
      return addResidual(this.down.forward(activated), between)
    })
  }
}

/** The shape of every weight of a model by its name, in the order of the blocks. */
export function llamaWeightShapes(config: ModelConfig): Map<string, readonly number[]> {
  const { vocabularySize, hiddenSize, heads, keyValueHeads, headSize, intermediateSize } = config
  const [queries, keysValues] = [heads * headSize, keyValueHeads * headSize]
  const shapes = new Map<string, readonly number[]>([['model.embed_tokens.weight', [vocabularySize, hiddenSize]]])
  for (let i = 0; i < config.layers; i++) {
    const path = `model.layers.${i}`
    const linear = (name: string, outFeatures: number, inFeatures: number, bias: boolean) => {
      shapes.set(`${path}.${name}.weight`, [outFeatures, inFeatures])
      if (bias) shapes.set(`${path}.${name}.bias`, [outFeatures])
    }
    shapes.set(`${path}.input_layernorm.weight`, [hiddenSize])
    linear('self_attn.q_proj', queries, hiddenSize, config.attentionBias)
    linear('self_attn.k_proj', keysValues, hiddenSize, config.attentionBias)
    linear('self_attn.v_proj', keysValues, hiddenSize, config.attentionBias)
    linear('self_attn.o_proj', hiddenSize, queries, config.attentionBias)
    shapes.set(`${path}.post_attention_layernorm.weight`, [hiddenSize])
    linear('mlp.gate_proj', intermediateSize, hiddenSize, config.mlpBias)
    linear('mlp.up_proj', intermediateSize, hiddenSize, config.mlpBias)
    linear('mlp.down_proj', hiddenSize, intermediateSize, config.mlpBias)
  }
  shapes.set('model.norm.weight', [hiddenSize])
  if (!config.tiedEmbeddings) shapes.set('lm_head.weight', [vocabularySize, hiddenSize])
  return shapes
}

/** The layers that adapters can go to, without their weights: those of the blocks, and untied embeddings and head. */
export function llamaLinears(config: ModelConfig): LayerFacts[] {
  return [...llamaWeightShapes(config)].flatMap(([weight, [outFeatures, inFeatures]]) => {
    const name = weight.replace(/\.weight$/, '')
    const role = roles[name]
    if (inFeatures === undefined || (role && config.tiedEmbeddings)) return []
    return [{ name, inFeatures, outFeatures: outFeatures!, ...(role && { role }) }]
  })
}

const roles: Readonly<Record<string, LayerRole>> = { 'model.embed_tokens': 'embeddings', lm_head: 'head' }
