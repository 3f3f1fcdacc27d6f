/** Per-layer embeddings (Gemma 3n, Gemma 4): every block also reads an input of its own, made from the token and its embedding. */
import type { FloatDType } from '../../native/addon.js'
import type { Linear } from '../../nn/linear.js'
import { roundedTo } from '../../tensor/half.js'
import { activatedTimes } from '../../tensor/operations/activation.js'
import { normHeads } from '../../tensor/operations/head-norm.js'
import { embedding } from '../../tensor/operations/indexing.js'
import { addResidual } from '../../tensor/operations/norm.js'
import { scaled } from '../../tensor/operations/scaled.js'
import { scope } from '../../tensor/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'
import { loadLinear, type WeightLoader } from './linear-layers.js'
import { type ForwardContext, linearInput } from './mixer.js'
import { Norm } from './norm.js'
import type { DecoderBlockPlan, NetworkPlan } from './plan.js'
import { WeightSlot } from './weight-slot.js'

/** The inputs of all blocks. */
export class PerLayerInputs {
  /** [rows, blocks · size] */
  table: Weight
  readonly projection: Linear
  readonly norm: Norm
  readonly slots: readonly WeightSlot[]

  constructor(
    readonly plan: NonNullable<NetworkPlan['perLayer']>,
    weights: WeightLoader,
  ) {
    const table = `${plan.table}.weight`
    this.table = weights.weight(table)
    this.projection = loadLinear(plan.projection, weights)
    this.norm = new Norm(plan.norm, weights)
    this.slots = [
      WeightSlot.ofWeight(table, this, 'table'),
      ...WeightSlot.ofLinear(this.projection),
      ...this.norm.slots,
    ]
  }

  /** Tokens `ids` [T] with their embeddings x [T, D] → [T, blocks · size]. */
  forward(ids: Tensor, x: Tensor, context: ForwardContext): Tensor {
    const { size } = this.plan
    const dtype = x.dtype as FloatDType
    return scope(() => {
      const rows = scaled(embedding(this.table, ids, dtype), roundedTo(dtype, Math.sqrt(size)))
      const projected = scaled(this.projection.forward(linearInput(x, context)), x.shape[1]! ** -0.5)
      const { weight, plan } = this.norm
      const heads = projected.shape[1]! / size
      const normed = normHeads(projected, size, [{ from: 0, heads, norm: { ...plan, weight } }])
      return scaled(addResidual(normed, rows), Math.SQRT1_2)
    })
  }
}

/** The part of a block that reads its own input. */
export class PerLayerGate {
  readonly gate: Linear
  readonly projection: Linear
  readonly norm: Norm
  readonly slots: readonly WeightSlot[]

  constructor(
    readonly plan: NonNullable<DecoderBlockPlan['perLayer']>,
    weights: WeightLoader,
  ) {
    this.gate = loadLinear(plan.gate, weights)
    this.projection = loadLinear(plan.projection, weights)
    this.norm = new Norm(plan.norm, weights)
    this.slots = [...this.linears().flatMap(WeightSlot.ofLinear), ...this.norm.slots]
  }

  linears(): Linear[] {
    return [this.gate, this.projection]
  }

  /** x [T, D], with the block's input [T, size] → [T, D] */
  forward(x: Tensor, input: Tensor, context: ForwardContext): Tensor {
    const gate = this.gate.forward(linearInput(x, context))
    const gated = activatedTimes(gate, input, this.plan.activation)
    return addResidual(this.norm.forward(this.projection.forward(linearInput(gated, context))), x)
  }
}
