import { isJsonObject } from '../io/json.js'
import { LoraPlusSchema } from '../options/adapter-options.js'
import { checkedConfig } from './adapter-config.js'
import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankMethod } from './low-rank.js'

export interface LoraPlusConfig extends LowRankConfig {
  readonly method: 'lora-plus'
  /** B's learning rate over A's. */
  readonly loraPlusRatio: number
}

/** LoRA+ (arXiv 2402.12354): LoRA whose B learns `loraPlusRatio` (16) times as fast as A. */
export function loraPlus(options: LowRankOptions & { loraPlusRatio?: number } = {}): LoraPlusConfig {
  const { loraPlusRatio = 16, ...lowRank } = checkedConfig(LoraPlusSchema, options)
  return { ...lowRankConfig('lora-plus', lowRank), loraPlusRatio }
}

export const loraPlusMethod = lowRankMethod<LoraPlusConfig>({
  name: 'lora-plus',
  config: loraPlus,
  prepare: (_, b, { loraPlusRatio }) => {
    b.learningRateRatio = loraPlusRatio
  },
  fromPeft: ({ node_mora: own }) =>
    isJsonObject(own) && typeof own.lora_plus_ratio === 'number' ? { loraPlusRatio: own.lora_plus_ratio } : {},
  toPeft: ({ loraPlusRatio }) => ({ node_mora: { method: 'lora-plus', lora_plus_ratio: loraPlusRatio } }),
})
