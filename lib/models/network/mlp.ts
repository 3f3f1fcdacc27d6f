import type { Linear, LinearGroup } from '../../nn/linear.js'
import { activation, gatedActivation } from '../../tensor/operations/activation.js'
import type { Tensor } from '../../tensor/tensor.js'
import { loadGroup, loadLinear, type WeightLoader } from './linear-layers.js'
import { type ForwardContext, linearInput } from './mixer.js'
import type { DecoderBlockPlan } from './plan.js'
import { WeightSlot } from './weight-slot.js'

/** An MLP with one hidden layer, gated or not. */
export class Mlp {
  readonly projections: LinearGroup
  readonly down: Linear
  readonly slots: readonly WeightSlot[]

  constructor(
    readonly plan: DecoderBlockPlan['mlp'],
    weights: WeightLoader,
  ) {
    this.projections = loadGroup(plan.projections, weights)
    this.down = loadLinear(plan.down, weights)
    this.slots = this.linears().flatMap(WeightSlot.ofLinear)
  }

  linears(): Linear[] {
    return [...this.projections.layers, this.down]
  }

  /** x [T, D] → [T, D] */
  forward(x: Tensor, context: ForwardContext): Tensor {
    const { gated, activation: f } = this.plan
    const hidden = this.projections.forward(linearInput(x, context))
    const activated = gated ? gatedActivation(hidden, f) : activation(hidden, f)
    return this.down.forward(linearInput(activated, context))
  }
}
