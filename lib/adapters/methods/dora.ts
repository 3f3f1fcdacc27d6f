import { native } from '../../native.js'
import { mul, sub } from '../../tensor/operations/arithmetic.js'
import { scaleRows } from '../../tensor/operations/factors.js'
import { product } from '../../tensor/operations/products.js'
import { norms } from '../../tensor/operations/reductions.js'
import type { Parameter } from '../../tensor/parameter.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { LayerOptions } from '../contract/adapter.js'
import { DeltaLayer, memoryOfWeightForm } from '../contract/adapter-layer.js'
import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

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

export class DoraLayer extends DeltaLayer {
  protected override readonly readsWeight = true

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

  protected delta(weight: Tensor): Tensor {
    const { a, b, magnitude, scale } = this
    const factors = mul(magnitude, this.#inverseNorms(weight))
    const changed = scaleRows(weight, sub(factors, 1))
    return product(scaleRows(b, mul(factors, scale)), a, { onto: changed })
  }

  /** 1 / ‖W + ΔW‖ [d], a constant. */
  #inverseNorms(weight: Tensor): Tensor {
    const { a, b, magnitude, scale } = this
    const [inverse, ones] = [Tensor.empty(magnitude.shape, magnitude), Tensor.empty([a.shape[1]!], a)]
    native.fill(ones.native, 1)
    scope(() => {
      const directed = Tensor.empty(weight.shape, a)
      directed.copyFrom(weight)
      native.matmul({ a: b.native, b: a.native, c: directed.native, alpha: scale, accumulate: true })
      // √k times that is what RMSNorm multiplies rows by.
      native.rmsNorm({ x: directed.native, weight: ones.native, weightOffset: 0, epsilon: 0, rstd: inverse.native })
    })
    native.copy(inverse.native, inverse.native, 1 / Math.sqrt(a.shape[1]!))
    return inverse
  }
}

export const doraMethod = lowRankMethod<DoraConfig>({
  name: 'dora',
  options: lowRankFields,
  config: dora,
  learningRate: 2e-4,
  layerMemory: (_, layer) => memoryOfWeightForm(layer),
  further: {
    [magnitudeSuffix]: {
      shape: (_, { outFeatures }) => [outFeatures],
      initial: ({ weight }) => scope(() => norms(weight.values('float32'))),
    },
  },
  layer: ({ dropout }, options, scale, { a, b }, tensors) =>
    new DoraLayer(options, dropout, scale, a, b, tensors.parameter(magnitudeSuffix)),
  toPeft: () => ({ use_dora: true }),
})
