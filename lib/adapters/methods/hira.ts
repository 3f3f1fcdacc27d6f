import { weighted } from '../../tensor/operations/factors.js'
import { matmul } from '../../tensor/operations/products.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, ConfigOf } from '../contract/adapter.js'
import { checkedConfig } from '../contract/adapter-config.js'
import { DeltaLayer } from '../contract/adapter-layer.js'
import { dropoutEntry } from '../contract/peft-entries.js'
import { factorShapes, kaimingUniform, rankOfProduct } from './low-rank.js'

const fields = {}

/** HiRA (ICLR 2025, openreview.net/forum?id=TwJrTz9cRS): ΔW = W ⊙ (B A) with A [rank, k] and B [d, rank]. */
export function hira(options: Partial<Omit<AdapterConfigBase, 'method'>> = {}): ConfigOf<'hira'> {
  return { method: 'hira', ...checkedConfig(fields, options) }
}

export const hiraMethod: AdapterMethod<ConfigOf<'hira'>, typeof fields> = {
  name: 'hira',
  options: fields,
  config: hira,
  learningRate: () => 1e-3,
  readByPeft: true,
  rankLimit: (_, layer) => rankOfProduct(layer),

  // PEFT's initialisation: A by Kaiming's rule, B is zero.
  tensors: {
    hira_A: { shape: factorShapes.a, initial: kaimingUniform },
    hira_B: { shape: factorShapes.b },
  },

  layer({ dropout }, options, tensors) {
    const [a, b] = [tensors.parameter('hira_A'), tensors.parameter('hira_B')]
    const delta = (weight: Tensor) => weighted(matmul(b, a), weight)
    return new DeltaLayer(options, dropout, [a, b], { delta, readsWeight: true })
  },

  peft: {
    peft_type: 'HIRA',
    fan_in_fan_out: false,
    hira_dropout: dropoutEntry,
    init_weights: true,
  },
}
