import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

export interface RsLoraConfig extends LowRankConfig {
  readonly method: 'rslora'
}

/** Rank-stabilised LoRA (arXiv 2312.03732): ΔW = alpha / √rank · B A. Alpha defaults to 2 · rank. */
export function rslora(options: LowRankOptions = {}): RsLoraConfig {
  return lowRankConfig('rslora', options)
}

export const rsloraMethod = lowRankMethod<RsLoraConfig>({
  name: 'rslora',
  options: lowRankFields,
  config: rslora,
  learningRate: 2e-4,
  embeddings: true,
  scale: (alpha, rank) => alpha / Math.sqrt(rank),
  peft: { use_rslora: true },
})
