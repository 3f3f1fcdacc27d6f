import { native } from '../../native/addon.js'
import { optionalFlag } from '../../schema/option.js'
import type { TensorStart } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group } from '../contract/adapter-config.js'
import { flagEntry } from '../contract/peft-entries.js'
import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

const fields = {
  ...lowRankFields,
  asyloraTrainA: optionalFlag('AsyLoRA: train A too, as the MoRA paper does', { defaultText: 'off', group }),
}

export interface AsyLoraConfig extends LowRankConfig {
  readonly method: 'asylora'
  /** Whether A is trained too. */
  readonly asyloraTrainA: boolean
}

/**
 * AsyLoRA (arXiv 2402.16842): LoRA with a frozen A of random orthonormal rows, so that B alone is trained. `asyloraTrainA` trains
 * both from this start, as the MoRA paper's comparison does.
 */
export function asylora(options: LowRankOptions & { asyloraTrainA?: boolean } = {}): AsyLoraConfig {
  const { asyloraTrainA = false, ...lowRank } = checkedConfig(fields, options)
  return { ...lowRankConfig('asylora', lowRank), asyloraTrainA }
}

/** Returns `rank` orthonormal rows of k values: the transposed Q of a matrix of normal numbers. */
function orthonormalRows({ layer: { inFeatures }, shape, random }: TensorStart<AsyLoraConfig>): Float32Array {
  const rank = shape[0]!
  const normal = new Float32Array(inFeatures * rank).map(() => random.normal())
  const q = native.orthonormalColumns(normal, inFeatures, rank)
  return Float32Array.from(q, (_, at) => q[(at % inFeatures) * rank + Math.floor(at / inFeatures)]!)
}

export const asyloraMethod = lowRankMethod<AsyLoraConfig, typeof fields>({
  name: 'asylora',
  rankMeaning: 'the rank itself',
  options: fields,
  config: asylora,
  learningRate: 2e-4,
  continues: ['lora'],
  initialA: orthonormalRows,
  frozenA: ({ asyloraTrainA }) => !asyloraTrainA,
  rankLimit: ({ name, inFeatures }) => ({
    most: inFeatures,
    of: `inputs of ${name}: asylora has no more orthonormal rows than that`,
    refused: true,
  }),
  // Two copies of A in float32, and in double precision the original, its decomposition, Q and Q's rows.
  layerMemory: (rank, { inFeatures }) => ({ making: (2 * 4 + 5 * 8) * rank * inFeatures }),
  peft: { node_mora: { method: 'asylora', asylora_train_a: flagEntry('asyloraTrainA') } },
})
