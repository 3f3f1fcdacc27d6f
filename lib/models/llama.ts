import { Linear, LinearGroup } from '../nn/linear.js'
import { LinearInput } from '../nn/linear-input.js'
import { attentionWithCache, selfAttention } from '../tensor/operations/attention.js'
import { addResidual, rmsNorm } from '../tensor/operations/norm.js'
import { swiglu } from '../tensor/operations/swiglu.js'
import { scope } from '../tensor/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import type { ModelConfig } from './config.js'
import type { ForwardContext } from './forward-context.js'
import type { KeyValueCache } from './key-value-cache.js'

/** Gives a weight by its Hugging Face name; `into` is memory to use. */
export interface WeightLoader {
  matrix(name: string, shape: readonly [number, number]): Tensor
  fused(
    names: readonly string[],
    outFeatures: readonly number[],
    inFeatures: number,
  ): { whole: Tensor; parts: Tensor[] }
  /** Norm weights and the like, float32. */
  vector(name: string, length: number): Tensor
  bias(name: string, length: number): Tensor
}

/** One block of the Llama family: attention and a gated MLP, each behind an RMSNorm and around a residual. */
export class LlamaBlock {
  readonly queryKeyValue: LinearGroup
  readonly attentionOutput: Linear
  readonly gateUp: LinearGroup
  readonly down: Linear
  attentionNorm: Tensor
  mlpNorm: Tensor

  constructor(
    readonly config: ModelConfig,
    readonly index: number,
    weights: WeightLoader,
  ) {
    const { hiddenSize, heads, keyValueHeads, headSize, intermediateSize, attentionBias, mlpBias } = config
    const path = `model.layers.${index}`
    const group = (names: string[], widths: number[], hasBias: boolean): LinearGroup => {
      const paths = names.map((name) => `${path}.${name}`)
      const { whole, parts } = weights.fused(paths, widths, hiddenSize)
      const bias = (i: number) => (hasBias ? weights.bias(`${paths[i]}.bias`, widths[i]!) : null)
      return new LinearGroup(
        parts.map((part, i) => new Linear(paths[i]!, part, bias(i))),
        whole,
      )
    }
    const single = (name: string, inFeatures: number, hasBias: boolean): Linear => {
      const weight = weights.matrix(`${path}.${name}.weight`, [hiddenSize, inFeatures])
      return new Linear(`${path}.${name}`, weight, hasBias ? weights.bias(`${path}.${name}.bias`, hiddenSize) : null)
    }
    this.attentionNorm = weights.vector(`${path}.input_layernorm.weight`, hiddenSize)
    this.queryKeyValue = group(
      ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
      [heads * headSize, keyValueHeads * headSize, keyValueHeads * headSize],
      attentionBias,
    )
    this.attentionOutput = single('self_attn.o_proj', heads * headSize, attentionBias)
    this.mlpNorm = weights.vector(`${path}.post_attention_layernorm.weight`, hiddenSize)
    this.gateUp = group(['mlp.gate_proj', 'mlp.up_proj'], [intermediateSize, intermediateSize], mlpBias)
    this.down = single('mlp.down_proj', intermediateSize, mlpBias)
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
      const activated = new LinearInput(swiglu(this.gateUp.forward(normedAgain)), dropout)
      return addResidual(this.down.forward(activated), between)
    })
  }
}

/** Names of every weight of a model, in the order of the blocks. */
export function llamaWeightNames(config: ModelConfig): string[] {
  const names = ['model.embed_tokens.weight']
  for (let i = 0; i < config.layers; i++) {
    const path = `model.layers.${i}`
    const linear = (name: string, bias: boolean) => [
      `${path}.${name}.weight`,
      ...(bias ? [`${path}.${name}.bias`] : []),
    ]
    names.push(`${path}.input_layernorm.weight`)
    for (const name of ['q', 'k', 'v', 'o']) names.push(...linear(`self_attn.${name}_proj`, config.attentionBias))
    names.push(`${path}.post_attention_layernorm.weight`)
    for (const name of ['gate', 'up', 'down']) names.push(...linear(`mlp.${name}_proj`, config.mlpBias))
  }
  names.push('model.norm.weight')
  if (!config.tiedEmbeddings) names.push('lm_head.weight')
  return names
}
