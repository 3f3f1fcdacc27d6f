import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import { optionalInteger } from '../../schema/option.js'
import { mul } from '../../tensor/operations/arithmetic.js'
import { onDiagonal } from '../../tensor/operations/factors.js'
import { product } from '../../tensor/operations/products.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, TensorStart } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group, requireOneRank } from '../contract/adapter-config.js'
import { DeltaLayer } from '../contract/adapter-layer.js'
import { dropoutEntry, numberEntry } from '../contract/peft-entries.js'
import { kaimingUniform, lowRankFields, rankOfProduct } from './low-rank.js'

export interface GraloraConfig extends AdapterConfigBase {
  readonly method: 'gralora'
  /** The scale is alpha / (rank + hybridRank). */
  readonly alpha: number
  /** The number of parts of inputs, and of outputs. */
  readonly graloraParts: number
  /** Rank of a plain LoRA beside the blocks; 0 for none. */
  readonly hybridRank: number
}

const fields = {
  alpha: lowRankFields.alpha,
  graloraParts: optionalInteger('GraLoRA: number of parts of inputs and outputs, each pair with its own factors', {
    min: 1,
    defaultText: '2; of an odd rank 1, which is LoRA',
    group,
  }),
  hybridRank: optionalInteger('GraLoRA: rank of a plain LoRA beside the blocks', { min: 0, defaultText: '0', group }),
}

/**
 * GraLoRA (arXiv 2505.20355): ΔW is cut into parts² blocks, each a LoRA of rank / parts: as many parameters as LoRA, and up to
 * parts times the rank. Alpha defaults to 2 · rank.
 */
export function gralora(options: Partial<Omit<GraloraConfig, 'method'>> = {}): GraloraConfig {
  requireOneRank('gralora', options)
  const config = checkedConfig(fields, options)
  const { alpha = 2 * config.rank, graloraParts = config.rank % 2 === 0 ? 2 : 1, hybridRank = 0 } = config
  if (config.rank % graloraParts !== 0) {
    throw new UsageError(
      'invalid-rank',
      `Rank ${config.rank} is not a multiple of ${optionName('graloraParts')} ${graloraParts}: the parts share it equally.`,
    )
  }
  return { ...config, method: 'gralora', alpha, graloraParts, hybridRank }
}

/**
 * ΔW [d, k] of A [parts, k / parts, rank] and B [parts, rank, d / parts]. The block of output part j and input part n is the
 * product of columns j of A's part n and rows n of B's part j, so that no two blocks share factors: one product for each n,
 * with all rows n of B as a block diagonal.
 */
function deltaOfBlocks(a: Tensor, b: Tensor): Tensor {
  return product(onDiagonal(b), a, { transposeA: true, transposeB: true, sideBySide: true })
}

/** Draws each part's A like a LoRA's [rank, k / parts]. */
function initialA({ shape, random }: TensorStart<GraloraConfig>): Float32Array {
  const [parts, width, rank] = shape as [number, number, number]
  return kaimingUniform({ shape: [parts * rank, width], random })
}

export const graloraMethod: AdapterMethod<GraloraConfig, typeof fields> = {
  name: 'gralora',
  options: fields,
  lacks: ['rankPattern'],
  config: gralora,
  learningRate: () => 2e-4,
  readByPeft: true,
  describe: ({ alpha }) => ({ alpha }),
  rankLimit: (_, layer) => rankOfProduct(layer),

  tensors: {
    gralora_A: {
      shape: ({ rank, graloraParts: parts }, { inFeatures }) => [parts, inFeatures / parts, rank],
      initial: initialA,
    },
    gralora_B: { shape: ({ rank, graloraParts: parts }, { outFeatures }) => [parts, rank, outFeatures / parts] },
    gralora_A_general: {
      shape: ({ hybridRank }, { inFeatures }) => (hybridRank > 0 ? [hybridRank, inFeatures] : null),
      initial: kaimingUniform,
      inFile: 'gralora_A_general.weight',
    },
    gralora_B_general: {
      shape: ({ hybridRank }, { outFeatures }) => (hybridRank > 0 ? [outFeatures, hybridRank] : null),
      inFile: 'gralora_B_general.weight',
    },
  },

  requireFit({ graloraParts: parts }, { name, inFeatures, outFeatures }: LayerFacts) {
    if (inFeatures % parts === 0 && outFeatures % parts === 0) return
    throw new UsageError(
      'unfit-options',
      `${name} (${inFeatures} → ${outFeatures}) cannot be cut into ${parts} equal parts: give another ${optionName('graloraParts')}.`,
    )
  },

  layer({ dropout, alpha, rank, hybridRank }, options, tensors) {
    const scale = alpha / (rank + hybridRank)
    const [a, b] = [tensors.parameter('gralora_A'), tensors.parameter('gralora_B')]
    const blocks = () => deltaOfBlocks(a, mul(b, scale))
    if (!tensors.has('gralora_A_general')) return new DeltaLayer(options, dropout, [a, b], { delta: blocks })
    const general = [tensors.parameter('gralora_A_general'), tensors.parameter('gralora_B_general')] as const
    const delta = () => product(mul(general[1], scale), general[0], { onto: blocks() })
    return new DeltaLayer(options, dropout, [a, b, ...general], { delta })
  },

  peft: {
    peft_type: 'GRALORA',
    alpha: numberEntry('alpha'),
    bias: 'none',
    fan_in_fan_out: false,
    gralora_dropout: dropoutEntry,
    gralora_k: numberEntry('graloraParts'),
    hybrid_r: numberEntry('hybridRank'),
    init_weights: true,
  },
}
