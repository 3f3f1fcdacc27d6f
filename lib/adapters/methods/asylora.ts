import { native } from '../../native/addon.js'
import type { TensorStart } from '../contract/adapter.js'
import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

export interface AsyLoraConfig extends LowRankConfig {
  readonly method: 'asylora'
}

/** AsyLoRA (arXiv 2402.16842): LoRA with a frozen A of random orthonormal rows; B alone is trained. */
export function asylora(options: LowRankOptions = {}): AsyLoraConfig {
  return lowRankConfig('asylora', options)
}

/** Returns `rank` orthonormal rows of k values: the transposed Q of a matrix of normal numbers. */
function orthonormalRows({ layer: { inFeatures }, shape, random }: TensorStart<AsyLoraConfig>): Float32Array {
  const rank = shape[0]!
  const normal = new Float32Array(inFeatures * rank).map(() => random.normal())
  const q = native.orthonormalColumns(normal, inFeatures, rank)
  return Float32Array.from(q, (_, at) => q[(at % inFeatures) * rank + Math.floor(at / inFeatures)]!)
}

export const asyloraMethod = lowRankMethod<AsyLoraConfig>({
  name: 'asylora',
  rankMeaning: 'the rank itself',
  options: lowRankFields,
  config: asylora,
  learningRate: 2e-4,
  initialA: orthonormalRows,
  frozenA: true,
  rankLimit: ({ name, inFeatures }) => ({
    most: inFeatures,
    of: `inputs of ${name}: asylora has no more orthonormal rows than that`,
    refused: true,
  }),
  // Two copies of A in float32, and in double precision the original, its decomposition, Q and Q's rows.
  layerMemory: (rank, { inFeatures }) => ({ making: (2 * 4 + 5 * 8) * rank * inFeatures }),
  peft: { node_mora: { method: 'asylora' } },
})
