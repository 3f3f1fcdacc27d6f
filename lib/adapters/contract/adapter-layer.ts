import { native } from '../../native.js'
import type { LayerAdapter, LayerUpdate, LowRankFactors } from '../../nn/layer-adapter.js'
import type { LinearInput } from '../../nn/linear-input.js'
import { backwardFrom } from '../../tensor/backward.js'
import type { Destination } from '../../tensor/destination.js'
import { updateLinear } from '../../tensor/operations/linear.js'
import type { Parameter } from '../../tensor/parameter.js'
import { scope } from '../../tensor/scope.js'
import { noGrad, withRecording } from '../../tensor/tape.js'
import { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'
import type { LayerFacts, LayerMemory, LayerOptions } from './adapter.js'

/** What a layer needs whose ΔW is made in float32 for each product: the changed weight, ΔW, and what that is made of. */
export function memoryOfWeightForm({ inFeatures, outFeatures }: LayerFacts): Partial<LayerMemory> {
  return { working: 3 * inFeatures * outFeatures }
}

/** An adapter beside one layer, said by a change of its weight: all else follows from that. See `DeltaLayer`. */
export abstract class AdapterLayer implements LayerAdapter {
  readonly makesWeight: boolean = false
  readonly parameters: readonly Parameter[]

  constructor(
    readonly options: LayerOptions,
    readonly dropout: number,
    /** All that it owns; frozen ones and integers are not trained. */
    readonly tensors: readonly Tensor[],
  ) {
    this.parameters = tensors.filter((tensor): tensor is Parameter => tensor.requiresGrad)
  }

  /** `scale` times ΔW, and how the parameters get their gradients. */
  abstract weightUpdate(scale: number): LayerUpdate | null

  forward(input: LinearInput, scale: number, into: Destination, weight: Weight): Tensor {
    return updateLinear(this.seen(input).x, weight, this.weightUpdate(scale)!, into)
  }

  asWeightUpdate(input: LinearInput, scale: number): LayerUpdate | null {
    return input.drops(this.dropout) ? null : this.weightUpdate(scale)
  }

  mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void {
    scope(() => {
      const delta = Tensor.zeros(weight.shape, { device: weight.device })
      this.writeDelta(delta, weight, scale)
      native.add(delta.native, weight.native, 1)
      native.countNonFinite(weight.native, nonFinite.native, true)
    })
  }

  factors(): LowRankFactors | null {
    return null
  }

  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose()
  }

  /** What this adapter sees of an input: its own elements are dropped while it trains. */
  protected seen(input: LinearInput): LinearInput {
    const { layer, adapter } = this.options
    return input.dropped(this.dropout, layer.name, adapter)
  }

  /** delta [d, k], zeros, becomes `scale` times ΔW. */
  protected writeDelta(delta: Tensor, weight: Tensor, scale: number): void {
    this.weightUpdate(scale)!.addTo(delta, weight, false)
  }
}

/**
 * An adapter that says its ΔW by differentiable operations; gradients of what it is made of follow from that of ΔW. It is made
 * in float32 for each product; a method with a shorter way overrides `forward`, and `makesWeight`.
 */
export abstract class DeltaLayer extends AdapterLayer {
  override readonly makesWeight: boolean = true
  /** Whether ΔW depends on W. Without, a quantised weight is not unpacked for it, and `delta` gets none of its rows. */
  protected readonly readsWeight: boolean = false

  /** ΔW [d, k] in float32, dense; `weight` [d, k] has floats of any dtype and is frozen. */
  protected abstract delta(weight: Tensor): Tensor

  weightUpdate(scale: number): LayerUpdate {
    return {
      parameters: this.parameters,
      readsWeight: this.readsWeight,
      addTo: (rows, weight) => scope(() => native.add(noGrad(() => this.delta(weight)).native, rows.native, scale)),
      backward: (dY, x, _, weight) => scope(() => this.#backward(dY, x, weight, scale)),
    }
  }

  #backward(dY: Tensor, x: Tensor, weight: Tensor, scale: number): void {
    const delta = withRecording(true, () => scope(() => this.delta(weight)))
    const node = delta.node?.retain()
    delta.dispose() // the tape keeps what it needs, before dYᵀ x takes as much memory
    if (!node) return
    try {
      const gradient = Tensor.empty(delta.shape, delta)
      native.matmul({ a: dY.native, transposeA: true, b: x.native, c: gradient.native, alpha: scale })
      backwardFrom(node, gradient, Tensor.empty)
    } finally {
      node.release()
    }
  }
}
