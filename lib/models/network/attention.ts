import { type Linear, LinearGroup } from '../../nn/linear.js'
import { mul, sigmoid } from '../../tensor/operations/arithmetic.js'
import {
  attentionTo,
  attentionToStore,
  attentionWithCache,
  rotated,
  selfAttention,
  storeKeysValues,
} from '../../tensor/operations/attention.js'
import { type HeadPart, normHeads } from '../../tensor/operations/head-norm.js'
import { splitGates } from '../../tensor/operations/partition.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { loadGroup, loadLinear, type WeightLoader } from './linear-layers.js'
import {
  type BlockContext,
  type ForwardContext,
  linearInput,
  type MemoryRoom,
  type Mixer,
  type MixerMemory,
  type PastTokens,
} from './mixer.js'
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

  forward(x: Tensor, context: BlockContext, past: PastTokens | null): Tensor {
    const { isSource, source } = this.plan
    const isApart = isSource || source !== undefined
    const attended = isApart ? this.#attendedApart(x, context, past) : this.#attended(x, context, past)
    return this.output.forward(linearInput(attended, context))
  }

  keysValues(x: Tensor, context: ForwardContext): Tensor {
    const [, ...layers] = this.projections.layers
    const projected = new LinearGroup(layers, null).forward(linearInput(x, context))
    return this.#rotated(this.#normed(projected, this.#keyValueParts(0)), this.plan.shape.keyValueHeads, context, 'key')
  }

  /** Rows [capacity, 2 K, E]: a token's keys, then its values; none where they are another block's. */
  createMemory({ capacity, ...made }: MemoryRoom): MixerMemory {
    const { keyValueHeads, headSize } = this.plan.shape
    if (this.plan.source !== undefined) return { rows: null, states: [] }
    return { rows: keep(Tensor.empty([capacity, 2 * keyValueHeads, headSize], made)), states: [] }
  }

  #attended(x: Tensor, context: ForwardContext, past: PastTokens | null): Tensor {
    const { shape, softmax, rotary: plan, gated } = this.plan
    const rotary = plan && context.rotary.get(plan)!
    const projected = this.projections.forward(linearInput(x, context))
    const [joined, gates] = gated ? splitGates(projected, shape) : [projected, null]
    const qkv = this.#normed(joined, [this.#queryPart(), ...this.#keyValueParts(shape.heads)])
    const attended = past
      ? attentionWithCache(qkv, shape, rotary, { ...past, store: past.memory.rows! }, softmax)
      : selfAttention(qkv, shape, rotary, context.offsets, softmax)
    return gates ? mul(attended, sigmoid(gates)) : attended
  }

  /** Attention to keys and values that several blocks share. */
  #attendedApart(x: Tensor, context: BlockContext, past: PastTokens | null): Tensor {
    const { shape, softmax, isSource } = this.plan
    const query = this.projections.layers[0]!.forward(linearInput(x, context))
    const q = this.#rotated(this.#normed(query, [this.#queryPart()]), shape.heads, context, 'query')
    if (!past) return attentionTo(q, context.keysValues!, shape, context.offsets, softmax)
    const stored = { ...past, store: past.memory.rows! }
    if (isSource) storeKeysValues(this.keysValues(x, context), stored)
    return attentionToStore(q, shape, stored, softmax)
  }

  #rotated(x: Tensor, heads: number, { rotary }: ForwardContext, as: 'query' | 'key'): Tensor {
    const { rotary: plan, shape } = this.plan
    return plan ? rotated(x, heads, shape.headSize, rotary.get(plan)!, as) : x
  }

  #normed(x: Tensor, parts: readonly HeadPart[]): Tensor {
    const isSame = !this.#keysAreValues && parts.every(({ norm }) => norm === null)
    return isSame ? x : normHeads(x, this.plan.shape.headSize, parts)
  }

  get #keysAreValues(): boolean {
    return this.plan.projections.length === 2
  }

  #queryPart(): HeadPart {
    return { from: 0, heads: this.plan.shape.heads, norm: settingsOf(this.queryNorm) }
  }

  /** Returns the parts of keys, whose first head in the projections' result is `from`, and of values. */
  #keyValueParts(from: number): HeadPart[] {
    const { shape, valueEpsilon } = this.plan
    const heads = shape.keyValueHeads
    const ofValues = valueEpsilon === undefined ? null : { weight: null, epsilon: valueEpsilon, weightOffset: 0 }
    return [
      { from, heads, norm: settingsOf(this.keyNorm) },
      { from: this.#keysAreValues ? from : from + heads, heads, norm: ofValues },
    ]
  }
}

const settingsOf = (norm: Norm | null) => norm && { weight: norm.weight, ...norm.plan }
