import type { Linear, LinearGroup } from '../../nn/linear.js'
import { attentionWithCache, selfAttention } from '../../tensor/operations/attention.js'
import { normHeads } from '../../tensor/operations/head-norm.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { type ForwardContext, linearInput } from './forward-context.js'
import { loadGroup, loadLinear, type WeightLoader } from './linear-layers.js'
import type { MemoryRoom, Mixer, MixerMemory, SeenTokens } from './mixer.js'
import { Norm } from './norm.js'
import type { AttentionPlan } from './plan.js'
import { WeightSlot } from './weight-slot.js'

/** Grouped-query attention with its projections. */
export class Attention implements Mixer {
  readonly projections: LinearGroup
  readonly queryNorm: Norm | null
  readonly keyNorm: Norm | null
  readonly output: Linear
  readonly slots: readonly WeightSlot[]

  constructor(
    readonly plan: AttentionPlan,
    weights: WeightLoader,
  ) {
    this.projections = loadGroup(plan.projections, weights)
    this.queryNorm = Norm.of(plan.queryNorm, weights)
    this.keyNorm = Norm.of(plan.keyNorm, weights)
    this.output = loadLinear(plan.output, weights)
    this.slots = [
      ...this.projections.layers.flatMap(WeightSlot.ofLinear),
      ...(this.queryNorm?.slots ?? []),
      ...(this.keyNorm?.slots ?? []),
      ...WeightSlot.ofLinear(this.output),
    ]
  }

  linears(): Linear[] {
    return [...this.projections.layers, this.output]
  }

  forward(x: Tensor, context: ForwardContext, seen: SeenTokens | null): Tensor {
    const { shape, softmax, rotary: plan } = this.plan
    const rotary = plan && context.rotary.get(plan)!
    const qkv = this.#normed(this.projections.forward(linearInput(x, context)))
    const attended = seen
      ? attentionWithCache(qkv, shape, rotary, { ...seen, store: seen.memory.rows! }, softmax)
      : selfAttention(qkv, shape, rotary, context.offsets, softmax)
    return this.output.forward(linearInput(attended, context))
  }

  /** Rows [capacity, 2 K, E]: a token's keys, then its values. */
  createMemory({ capacity, ...made }: MemoryRoom): MixerMemory {
    const { keyValueHeads, headSize } = this.plan.shape
    return { rows: keep(Tensor.empty([capacity, 2 * keyValueHeads, headSize], made)), states: [] }
  }

  #normed(qkv: Tensor): Tensor {
    const { queryNorm, keyNorm } = this
    if (!queryNorm || !keyNorm) return qkv
    const { heads, keyValueHeads, headSize } = this.plan.shape
    const settings = ({ weight, plan }: Norm) => ({ weight, ...plan })
    return normHeads(qkv, headSize, [
      { from: 0, heads, norm: settings(queryNorm) },
      { from: heads, heads: keyValueHeads, norm: settings(keyNorm) },
      { from: heads + keyValueHeads, heads: keyValueHeads, norm: null },
    ])
  }
}
