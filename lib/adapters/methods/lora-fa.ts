import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

export interface LoraFaConfig extends LowRankConfig {
  readonly method: 'lora-fa'
}

/** LoRA-FA (arXiv 2308.03303): LoRA whose random A is frozen; B alone is trained. */
export function loraFa(options: LowRankOptions = {}): LoraFaConfig {
  return lowRankConfig('lora-fa', options)
}

export const loraFaMethod = lowRankMethod<LoraFaConfig>({
  name: 'lora-fa',
  rankMeaning: 'the rank itself',
  options: lowRankFields,
  config: loraFa,
  learningRate: 2e-4,
  continues: ['lora'],
  frozenA: true,
  // Each row of a frozen A is an input of B: more rows help up to k, whatever d is.
  rankLimit: ({ name, inFeatures }) => ({ most: inFeatures, of: `inputs of ${name}` }),
  peft: { node_mora: { method: 'lora-fa' } },
})
