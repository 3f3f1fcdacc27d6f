import { layerNorm, rmsNorm } from '../../tensor/operations/norm.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { WeightLoader } from './linear-layers.js'
import type { NormPlan } from './plan.js'
import { WeightSlot } from './weight-slot.js'

/** RMSNorm, or LayerNorm. */
export class Norm {
  weight: Tensor
  bias: Tensor | null
  readonly slots: readonly WeightSlot[]

  constructor(
    readonly plan: NormPlan,
    weights: WeightLoader,
  ) {
    const { name, kind } = plan
    this.weight = weights.float32(`${name}.weight`)
    this.bias = kind === 'layer' ? weights.float32(`${name}.bias`) : null
    const slots = [WeightSlot.ofVector(`${name}.weight`, this, 'weight')]
    if (this.bias) slots.push(WeightSlot.ofVector(`${name}.bias`, this, 'bias'))
    this.slots = slots
  }

  static of(plan: NormPlan | null, weights: WeightLoader): Norm | null {
    return plan && new Norm(plan, weights)
  }

  /** x [T, D] → [T, D] */
  forward(x: Tensor): Tensor {
    const { kind, epsilon, weightOffset } = this.plan
    return kind === 'rms'
      ? rmsNorm(x, this.weight, epsilon, weightOffset)
      : layerNorm(x, this.weight, this.bias, epsilon)
  }
}
