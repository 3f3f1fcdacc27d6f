import { type FloatDType, native } from '../../native.js'
import type { LayerUpdate, LowRankFactors } from '../../nn/layer-adapter.js'
import type { LinearInput } from '../../nn/linear-input.js'
import type { Destination } from '../../tensor/destination.js'
import { factor } from '../../tensor/operations/linear.js'
import type { Parameter } from '../../tensor/parameter.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { LayerOptions } from '../contract/adapter.js'
import { AdapterLayer } from '../contract/adapter-layer.js'

/** ΔW = scale · B A beside one layer. A may be frozen. */
export class LoraLayer extends AdapterLayer {
  override readonly makesWeight = false

  constructor(
    options: LayerOptions,
    dropout: number,
    readonly scale: number,
    /** [rank, k] */
    readonly a: Parameter,
    /** [d, rank] */
    readonly b: Parameter,
  ) {
    super(options, dropout, [a, b])
  }

  override forward(input: LinearInput, scale: number, into: Destination): Tensor {
    return factor(factor(this.seen(input).x, this.a), this.b, scale * this.scale, into)
  }

  weightUpdate(scale: number): LayerUpdate {
    const { a, b } = this
    const total = scale * this.scale
    return {
      parameters: [a, b],
      addTo: (rows) => native.matmul(b.native, false, a.native, false, rows.native, total, true),
      backward: (dY, x, [dA, dB]) =>
        scope(() => {
          const dtype = x.dtype as FloatDType
          const rankWide = () => Tensor.empty([x.shape[0]!, a.shape[0]!], x)
          if (dB!.needed) {
            const z = rankWide()
            native.matmul(x.native, false, a.as(dtype).native, true, z.native, 1, false)
            dB!.write((target, add) => native.matmul(dY.native, true, z.native, false, target.native, total, add))
          }
          if (dA!.needed) {
            const dZ = rankWide()
            native.matmul(dY.native, false, b.as(dtype).native, false, dZ.native, total, false)
            dA!.write((target, add) => native.matmul(dZ.native, true, x.native, false, target.native, 1, add))
          }
        }),
    }
  }

  override mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void {
    native.mergeFactors(this.b.native, this.a.native, scale * this.scale, weight.native, nonFinite.native)
  }

  override factors(): LowRankFactors {
    const valuesOf = async (factor: Parameter) => (await factor.data()) as Float32Array
    return { rank: this.a.shape[0]!, scale: this.scale, a: () => valuesOf(this.a), b: () => valuesOf(this.b) }
  }

  override describe(): { rank: number } {
    return { rank: this.a.shape[0]! }
  }
}
