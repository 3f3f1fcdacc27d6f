import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

export { LoraLayer } from './lora-layer.js'

export interface LoraConfig extends LowRankConfig {
  readonly method: 'lora'
}

/** LoRA (arXiv 2106.09685): ΔW = alpha / rank · B A with A [rank, k] and B [d, rank]. Alpha defaults to 2 · rank. */
export function lora(options: LowRankOptions = {}): LoraConfig {
  return lowRankConfig('lora', options)
}

export const loraMethod = lowRankMethod<LoraConfig>({
  name: 'lora',
  options: lowRankFields,
  config: lora,
  learningRate: 2e-4,
  embeddings: true,
  // ReLoRA (arXiv 2307.05695): another A each time.
  restart: { plan: (config) => ({ after: () => config }) },
})
