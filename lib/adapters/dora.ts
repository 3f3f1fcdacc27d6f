import { type FloatDType, native } from '../native.js'
import type { LayerUpdate } from '../nn/layer-adapter.js'
import { Parameter } from '../tensor/parameter.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { asStored, type LayerOptions } from './adapter.js'
import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankMethod, requireShape } from './low-rank.js'
import { WeightFormLayer } from './weight-form-layer.js'

export interface DoraConfig extends LowRankConfig {
  readonly method: 'dora'
}

/**
 * DoRA (arXiv 2402.09353): W' = m ⊙ (W + ΔW) / ‖W + ΔW‖ with LoRA's ΔW, norms of rows, and a trained magnitude m [d] that
 * starts as ‖W‖. The norm counts as a constant in gradients (section 4.3), as in PEFT.
 */
export function dora(options: LowRankOptions = {}): DoraConfig {
  return lowRankConfig('dora', options)
}

const magnitudeSuffix = 'lora_magnitude_vector'

export class DoraLayer extends WeightFormLayer {
  constructor(
    options: LayerOptions,
    dropout: number,
    readonly scale: number,
    /** [rank, k] */
    readonly a: Parameter,
    /** [d, rank] */
    readonly b: Parameter,
    /** [d] */
    readonly magnitude: Parameter,
  ) {
    super(options, dropout, [a, b, magnitude])
  }

  weightUpdate(scale: number): LayerUpdate {
    return {
      parameters: this.parameters,
      addTo: (rows, weight) =>
        scope(() => {
          const directed = this.#directed(weight)
          const factors = product(this.magnitude, inverseNorms(directed))
          const scaled = Tensor.empty(directed.shape, directed)
          native.rmsNormApply(
            directed.native,
            constant([rows.shape[1]!], scale, rows).native,
            0,
            factors.native,
            scaled.native,
          )
          native.add(scaled.native, rows.native, 1)
          native.add(weight.native, rows.native, -scale)
        }),
      backward: (dY, x, [dA, dB, dMagnitude], weight) =>
        scope(() => {
          const { a, b, magnitude } = this
          const dtype = x.dtype as FloatDType
          const tokens = x.shape[0]!
          const directed = this.#directed(weight)
          const inverse = inverseNorms(directed)
          const scaled = Tensor.empty(dY.shape, x)
          const columns = product(magnitude, inverse, scale)
          native.rmsNormApply(dY.native, columns.native, 0, constant([tokens], 1, x).native, scaled.native)
          const [z, dZ] = [Tensor.empty([tokens, a.shape[0]!], x), Tensor.empty([tokens, a.shape[0]!], x)]
          native.matmul(x.native, false, a.as(dtype).native, true, z.native, 1, false)
          native.matmul(scaled.native, false, b.as(dtype).native, false, dZ.native, 1, false)
          dA!.write((target, add) => native.matmul(dZ.native, true, x.native, false, target.native, this.scale, add))
          dB!.write((target, add) =>
            native.matmul(scaled.native, true, z.native, false, target.native, this.scale, add),
          )

          const y = Tensor.empty(dY.shape, { device: x.device })
          native.matmul(x.native, false, directed.native, true, y.native, 1, false)
          native.multiply(dY.native, y.native, y.native, 1, false)
          const sums = Tensor.empty(magnitude.shape, magnitude)
          native.columnSums(y.native, sums.native, false)
          dMagnitude!.write((target, add) => {
            const [row, into] = [[1, magnitude.shape[0]!], target.view([1, magnitude.shape[0]!])]
            native.multiply(sums.view(row).native, inverse.view(row).native, into.native, scale, add)
          })
        }),
    }
  }

  describe(): { rank: number } {
    return { rank: this.a.shape[0]! }
  }

  /** W + ΔW [d, k] in float32, before it is given its length. */
  #directed(weight: Tensor): Tensor {
    const directed = Tensor.empty(weight.shape, { device: weight.device })
    native.dequantise(weight.native, directed.native)
    native.matmul(this.b.native, false, this.a.native, false, directed.native, this.scale, true)
    return directed
  }
}

const constant = (shape: readonly number[], value: number, { device }: Tensor): Tensor => {
  const tensor = Tensor.empty(shape, { device })
  native.fill(tensor.native, value)
  return tensor
}

/** scale · a ⊙ b for float32 vectors. */
function product(a: Tensor, b: Tensor, scale = 1): Tensor {
  const row = [1, a.shape[0]!]
  const result = Tensor.empty(a.shape, { device: a.device })
  native.multiply(a.view(row).native, b.view(row).native, result.view(row).native, scale, false)
  return result
}

/** 1 / ‖·‖ [d] of the rows of a float32 matrix [d, k]: what RMSNorm divides by is ‖·‖ / √k. */
function inverseNorms(matrix: Tensor): Tensor {
  const [rows, columns] = matrix.shape as [number, number]
  const rstd = Tensor.empty([rows], { device: matrix.device })
  native.rmsNorm(matrix.native, null, constant([columns], 1, matrix).native, 0, 0, null, rstd.native)
  const inverse = Tensor.empty([rows], { device: matrix.device })
  native.copy(rstd.native, inverse.native, 1 / Math.sqrt(columns))
  return inverse
}

/** ‖·‖ [d] of the rows: ‖·‖² / ‖·‖. */
function rowNorms(weight: Tensor): Tensor {
  return scope(() => {
    const [rows, columns] = weight.shape as [number, number]
    const values = Tensor.empty(weight.shape, { device: weight.device })
    native.dequantise(weight.native, values.native)
    const inverse = inverseNorms(values)
    native.multiply(values.native, values.native, values.native, 1, false)
    const squares = Tensor.empty([rows, 1], { device: weight.device })
    native.matmul(values.native, false, constant([columns, 1], 1, weight).native, false, squares.native, 1, false)
    return product(squares.view([rows]), inverse)
  })
}

export const doraMethod = lowRankMethod<DoraConfig>({
  name: 'dora',
  config: dora,
  layer(config, options, scale, a, b, further) {
    const { layer, device } = options
    const shape = [layer.outFeatures]
    const stored = 'stored' in further ? further.stored(magnitudeSuffix) : null
    const values = stored
      ? Tensor.from(requireShape(stored, magnitudeSuffix, shape, layer, a.shape[0]!), shape, { device })
      : rowNorms((further as { weight: Tensor }).weight)
    const magnitude = new Parameter(`${layer.name}.${magnitudeSuffix}`, values)
    return new DoraLayer(options, config.dropout, scale, a, b, magnitude)
  },
  further: {
    suffixes: [magnitudeSuffix],
    tensors: (layer) => [asStored(magnitudeSuffix, (layer as DoraLayer).magnitude)],
  },
  countParameters: (rank, { inFeatures, outFeatures }) => rank * (inFeatures + outFeatures) + outFeatures,
  toPeft: () => ({ use_dora: true }),
})
