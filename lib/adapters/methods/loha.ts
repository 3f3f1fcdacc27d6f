import { mul } from '../../tensor/operations/arithmetic.js'
import { matmul } from '../../tensor/operations/products.js'
import type { AdapterMethod, ConfigOf } from '../contract/adapter.js'
import { DeltaLayer } from '../contract/adapter-layer.js'
import { onlyEntry, ownDropout, patternsEntry, positiveEntry } from '../contract/peft-entries.js'
import {
  alphaOf,
  factorShapes,
  kaimingUniform,
  type LowRankConfig,
  type LowRankOptions,
  lowRankConfig,
  lowRankFields,
  rankOfProduct,
} from './low-rank.js'

/**
 * LoHa (FedPara, arXiv 2108.06098): ΔW = alpha / rank · (B₁ A₁) ⊙ (B₂ A₂) with A₁, A₂ [rank, k] and B₁, B₂ [d, rank]: ΔW can
 * have rank². Alpha defaults to 2 · rank.
 */
export function loha(options: LowRankOptions = {}): ConfigOf<'loha', LowRankConfig> {
  return lowRankConfig('loha', options)
}

export const lohaMethod: AdapterMethod<ConfigOf<'loha', LowRankConfig>, typeof lowRankFields> = {
  name: 'loha',
  options: lowRankFields,
  rankMeaning: 'the rank of each of its two products',
  config: loha,
  learningRate: () => 1e-3,
  readByPeft: true,
  describe: ({ alpha }) => ({ alpha }),
  rankLimit: (_, layer) => rankOfProduct(layer),

  // PEFT's initialisation: all by Kaiming's rule but one, which is zero.
  tensors: {
    hada_w1_a: { shape: factorShapes.b, initial: kaimingUniform },
    hada_w1_b: { shape: factorShapes.a, initial: kaimingUniform },
    hada_w2_a: { shape: factorShapes.b, initial: kaimingUniform },
    hada_w2_b: { shape: factorShapes.a },
  },

  layer(config, options, tensors) {
    const [b1, a1] = [tensors.parameter('hada_w1_a'), tensors.parameter('hada_w1_b')]
    const [b2, a2] = [tensors.parameter('hada_w2_a'), tensors.parameter('hada_w2_b')]
    const scale = alphaOf(config, options.layer) / a1.shape[0]!
    return new DeltaLayer(options, config.dropout, [b1, a1, b2, a2], {
      delta: () => mul(matmul(b1, a1), matmul(b2, mul(a2, scale))),
    })
  },

  peft: {
    peft_type: 'LOHA',
    alpha: positiveEntry('alpha', { absent: 8 }),
    alpha_pattern: patternsEntry('alphaPattern'),
    init_weights: onlyEntry(true, false),
    // They drop rows of ΔW, or all of it, while training.
    module_dropout: onlyEntry(0),
    node_mora: ownDropout,
    r2: onlyEntry(),
    rank_dropout: onlyEntry(0),
    use_effective_conv2d: false,
    use_khatri_rao: onlyEntry(undefined, false, 'auto'),
  },
}
