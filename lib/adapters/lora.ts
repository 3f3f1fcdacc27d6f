import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankMethod } from './low-rank.js'

export { LoraLayer } from './lora-layer.js'

export interface LoraConfig extends LowRankConfig {
  readonly method: 'lora'
}

/** LoRA (arXiv 2106.09685): ΔW = alpha / rank · B A with A [rank, k] and B [d, rank]. Alpha defaults to 2 · rank. */
export function lora(options: LowRankOptions = {}): LoraConfig {
  return lowRankConfig('lora', options)
}

export const loraMethod = lowRankMethod<LoraConfig>({ name: 'lora', config: lora, embeddings: true })
