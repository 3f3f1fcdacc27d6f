import { optionalReal } from '../../schema/option.js'
import { checkedConfig, newAdapterGroup as group } from '../contract/adapter-config.js'
import { positiveEntry } from '../contract/peft-entries.js'
import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

const fields = {
  ...lowRankFields,
  loraPlusRatio: optionalReal("LoRA+: B's learning rate over A's", { above: 0, defaultText: '16', group }),
}

export interface LoraPlusConfig extends LowRankConfig {
  readonly method: 'lora-plus'
  /** Ratio of B's learning rate to A's. */
  readonly loraPlusRatio: number
}

/** LoRA+ (arXiv 2402.12354): LoRA whose B learns `loraPlusRatio` (16) times as fast as A. */
export function loraPlus(options: LowRankOptions & { loraPlusRatio?: number } = {}): LoraPlusConfig {
  const { loraPlusRatio = 16, ...lowRank } = checkedConfig(fields, options)
  return { ...lowRankConfig('lora-plus', lowRank), loraPlusRatio }
}

export const loraPlusMethod = lowRankMethod<LoraPlusConfig, typeof fields>({
  name: 'lora-plus',
  options: fields,
  config: loraPlus,
  learningRate: 1e-4,
  continues: ['lora'],
  ratioOfB: ({ loraPlusRatio }) => loraPlusRatio,
  peft: { node_mora: { method: 'lora-plus', lora_plus_ratio: positiveEntry('loraPlusRatio', { absent: 16 }) } },
})
