import { native } from '../native.js'
import type { LayerAdapter, LayerUpdate } from '../nn/layer-adapter.js'
import type { LinearInput } from '../nn/linear-input.js'
import type { Destination } from '../tensor/destination.js'
import { updateLinear } from '../tensor/operations/linear.js'
import type { Parameter } from '../tensor/parameter.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { LayerOptions } from './adapter.js'

/** An adapter whose ΔW is a function of the weight beside which it lies: ΔW is made in float32 for each product. */
export abstract class WeightFormLayer implements LayerAdapter {
  readonly makesWeight = true

  constructor(
    readonly options: LayerOptions,
    readonly dropout: number,
    readonly parameters: readonly Parameter[],
  ) {}

  /** `scale` times ΔW, and how the parameters get their gradients. */
  abstract weightUpdate(scale: number): LayerUpdate

  abstract describe(): Readonly<Record<string, number>>

  forward(input: LinearInput, scale: number, into: Destination, weight: Tensor): Tensor {
    const { layer, adapter } = this.options
    return updateLinear(input.dropped(this.dropout, layer.name, adapter).x, weight, this.weightUpdate(scale), into)
  }

  asWeightUpdate(input: LinearInput, scale: number): LayerUpdate | null {
    return input.drops(this.dropout) ? null : this.weightUpdate(scale)
  }

  mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void {
    scope(() => {
      const delta = Tensor.zeros(weight.shape, { device: weight.device })
      this.weightUpdate(scale).addTo(delta, weight, false)
      native.add(delta.native, weight.native, 1)
      native.countNonFinite(weight.native, nonFinite.native, true)
    })
  }

  dispose(): void {
    for (const parameter of this.parameters) parameter.dispose()
  }
}
