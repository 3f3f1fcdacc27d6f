import { type FloatDType, native } from '../../native/addon.js'
import type { LayerUpdate, LowRankFactors } from '../../nn/layer-adapter.js'
import type { LinearInput } from '../../nn/linear-input.js'
import type { Destination } from '../../tensor/destination.js'
import { writeWeightGradient } from '../../tensor/gradient-writes.js'
import { factor } from '../../tensor/operations/linear.js'
import type { Parameter } from '../../tensor/parameter.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { LayerOptions } from '../contract/adapter.js'
import { AdapterLayer } from '../contract/adapter-layer.js'

/** ΔW = scale · B A beside one layer. A may be frozen. */
export class LoraLayer extends AdapterLayer {
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
      readsWeight: false,
      addTo: (rows) => native.matmul({ a: b.native, b: a.native, c: rows.native, alpha: total, accumulate: true }),
      backward: (dY, x, [dA, dB]) =>
        scope(() => {
          const dtype = x.dtype as FloatDType
          const rankWide = () => Tensor.empty([x.shape[0]!, a.shape[0]!], x)
          if (dB!.needed) {
            const z = rankWide()
            native.matmul({ a: x.native, b: a.as(dtype).native, transposeB: true, c: z.native })
            writeWeightGradient(dB!, dY, z, total)
          }
          if (dA!.needed) {
            const dZ = rankWide()
            native.matmul({ a: dY.native, b: b.as(dtype).native, c: dZ.native, alpha: total })
            writeWeightGradient(dA!, dZ, x)
          }
        }),
    }
  }

  override mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void {
    native.mergeFactors(this.b.native, this.a.native, scale * this.scale, weight.native, nonFinite.native)
  }

  override factors(): LowRankFactors {
    const valuesOf = async (factor: Parameter) => await factor.data()
    return { rank: this.a.shape[0]!, scale: this.scale, a: () => valuesOf(this.a), b: () => valuesOf(this.b) }
  }
}
