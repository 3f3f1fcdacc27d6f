import { UsageError } from '../errors.js'
import { native } from '../native.js'
import type { TensorStart } from './adapter.js'
import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

export interface AsyLoraConfig extends LowRankConfig {
  readonly method: 'asylora'
}

/** AsyLoRA (arXiv 2402.16842): LoRA with a frozen A of random orthonormal rows; B alone is trained. */
export function asylora(options: LowRankOptions = {}): AsyLoraConfig {
  return lowRankConfig('asylora', options)
}

/** rank orthonormal rows of k values: the Q of a matrix of normal numbers, transposed. */
function orthonormalRows({ layer, shape, random }: TensorStart<AsyLoraConfig>): Float32Array {
  const { name, inFeatures } = layer
  const rank = shape[0]!
  if (rank > inFeatures) {
    throw new UsageError(
      'invalid-rank',
      `Rank ${rank} is more than the ${inFeatures} inputs of ${name}: asylora has no more orthonormal rows than that.`,
    )
  }
  const normal = Float32Array.from({ length: inFeatures * rank }, () => random.normal())
  const q = native.orthonormalColumns(normal, inFeatures, rank)
  return Float32Array.from(q, (_, at) => q[(at % inFeatures) * rank + Math.floor(at / inFeatures)]!)
}

export const asyloraMethod = lowRankMethod<AsyLoraConfig>({
  name: 'asylora',
  options: lowRankFields,
  config: asylora,
  learningRate: 2e-4,
  initialA: orthonormalRows,
  frozenA: true,
  toPeft: () => ({ node_mora: { method: 'asylora' } }),
})
