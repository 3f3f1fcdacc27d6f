import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { WeightLoader } from './linear-layers.js'
import type { MemoryRoom } from './mixer.js'
import type { ConvolutionPlan } from './plan.js'
import { WeightSlot } from './weight-slot.js'

/** The weights of a depthwise causal convolution, float32. */
export class Convolution {
  /** [C, 1, K] */
  weight: Tensor
  /** [C] */
  bias: Tensor | null
  readonly slots: readonly WeightSlot[]

  constructor(
    readonly plan: ConvolutionPlan,
    weights: WeightLoader,
  ) {
    const { name, bias } = plan
    this.weight = weights.float32(`${name}.weight`)
    this.bias = bias ? weights.float32(`${name}.bias`) : null
    this.slots = [
      WeightSlot.ofVector(`${name}.weight`, this, 'weight'),
      ...(this.bias ? [WeightSlot.ofVector(`${name}.bias`, this, 'bias')] : []),
    ]
  }

  /** Allocates sequences' states: the last inputs, oldest first, [slots, K - 1, C]. */
  createState({ slots, dtype, device }: MemoryRoom): Tensor {
    return keep(Tensor.zeros([slots, this.plan.length - 1, this.plan.channels], { dtype, device }))
  }
}
