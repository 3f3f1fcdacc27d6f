import { native } from '../../native/addon.js'
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

/**
 * Returns the memory of a layer whose ΔW is computed in float32 for each product: the changed weight, ΔW, and intermediates.
 */
export function memoryOfWeightForm({ inFeatures, outFeatures }: LayerFacts): Partial<LayerMemory> {
  return { working: 3 * inFeatures * outFeatures }
}

/** An adapter of one layer, defined by the change of its weight: all else follows from that. See `DeltaLayer`. */
export abstract class AdapterLayer implements LayerAdapter {
  readonly makesWeight: boolean = false
  /** The trained tensors among `tensors`, in their order. */
  readonly parameters: readonly Parameter[]

  constructor(
    /** The layer, its device and the name of the adapter. */
    readonly options: LayerOptions,
    /** Probability with which an element of the input is dropped while training. */
    readonly dropout: number,
    /** All tensors that it owns; frozen ones and integers are not trained. */
    readonly tensors: readonly Tensor[],
  ) {
    this.parameters = tensors.filter((tensor): tensor is Parameter => tensor.requiresGrad)
  }

  /** Returns `scale` times ΔW as an update of the weight, with the gradients of the parameters. */
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

  /** Returns an input after the adapter's own dropout, which applies while it trains. */
  protected seen(input: LinearInput): LinearInput {
    const { layer, adapter } = this.options
    return input.dropped(this.dropout, layer.name, adapter)
  }

  /** Writes `scale` times ΔW into delta [d, k], which is zero. */
  protected writeDelta(delta: Tensor, weight: Tensor, scale: number): void {
    this.weightUpdate(scale)!.addTo(delta, weight, false)
  }
}

/** The computation of ΔW. */
export interface DeltaForm {
  /**
   * Returns ΔW [d, k] in float32, dense, by differentiable operations; `weight` [d, k] has floats of any dtype and is frozen.
   */
  delta(weight: Tensor): Tensor
  /**
   * Whether ΔW depends on W; default no: then a quantised weight is not unpacked for it, and `delta` must not read `weight`.
   */
  readonly readsWeight?: boolean
  /** Returns ΔW as a product of two factors, if that is exact. */
  factors?(): LowRankFactors
}

/**
 * An adapter that is defined by its ΔW: the tape gives the gradients. ΔW is computed in float32 for each product; a method with
 * a faster way overrides `forward` and `makesWeight`.
 */
export class DeltaLayer extends AdapterLayer {
  override readonly makesWeight: boolean = true

  constructor(
    options: LayerOptions,
    dropout: number,
    tensors: readonly Tensor[],
    /** Computes ΔW from the layer's tensors. */
    readonly form: DeltaForm,
  ) {
    super(options, dropout, tensors)
  }

  override factors(): LowRankFactors | null {
    return this.form.factors?.() ?? null
  }

  weightUpdate(scale: number): LayerUpdate {
    const { form, parameters } = this
    const addTraced = (rows: Tensor | null, weight: Tensor): Tensor =>
      scope(() => {
        const delta = withRecording(true, () => form.delta(weight))
        if (rows) native.add(delta.native, rows.native, scale)
        const trace = Tensor.empty([0], { device: delta.device })
        trace.node = delta.node?.retain() ?? null
        return trace
      })
    return {
      parameters,
      readsWeight: form.readsWeight ?? false,
      addTraced,
      addTo: (rows, weight) => scope(() => native.add(noGrad(() => form.delta(weight)).native, rows.native, scale)),
      backward: (dY, x, _, weight, { node } = addTraced(null, weight)) =>
        scope(() => {
          if (!node) return
          const gradient = Tensor.empty([dY.shape[1]!, x.shape[1]!], { device: x.device })
          native.matmul({ a: dY.native, transposeA: true, b: x.native, c: gradient.native, alpha: scale })
          backwardFrom(node, gradient, Tensor.empty)
        }),
    }
  }
}
