import { native } from '../../native.js'
import { mul, sub } from '../../tensor/operations/arithmetic.js'
import { scaleRows } from '../../tensor/operations/factors.js'
import { product } from '../../tensor/operations/products.js'
import { norms } from '../../tensor/operations/reductions.js'
import type { Parameter } from '../../tensor/parameter.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
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

/** 1 / ‖W + s B A‖ [d], a constant. */
function inverseNorms(weight: Tensor, a: Parameter, b: Parameter, scale: number): Tensor {
  const [d, k] = weight.shape as [number, number]
  const [inverse, ones] = [Tensor.empty([d], a), Tensor.empty([k], a)]
  native.fill(ones.native, 1)
  scope(() => {
    const directed = Tensor.empty([d, k], a)
    directed.copyFrom(weight)
    native.matmul({ a: b.native, b: a.native, c: directed.native, alpha: scale, accumulate: true })
    // √k times that is what RMSNorm multiplies rows by.
    native.rmsNorm({ x: directed.native, weight: ones.native, weightOffset: 0, epsilon: 0, rstd: inverse.native })
  })
  native.copy(inverse.native, inverse.native, 1 / Math.sqrt(k))
  return inverse
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
  layer({ dropout }, options, scale, { a, b }, tensors) {
    const magnitude = tensors.parameter(magnitudeSuffix)
    return new DeltaLayer(options, dropout, [a, b, magnitude], {
      readsWeight: true,
      delta(weight) {
        const factors = mul(magnitude, inverseNorms(weight, a, b, scale))
        return product(scaleRows(b, mul(factors, scale)), a, { onto: scaleRows(weight, sub(factors, 1)) })
      },
    })
  },
  toPeft: () => ({ use_dora: true }),
})
