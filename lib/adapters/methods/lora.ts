/** LoRA, and its variants that differ in the scale, in what is trained, or in the rates. */
import { optionalChoice, optionalReal } from '../../schema/option.js'
import type { AdapterMethod, ConfigOf, RestartRunOptions } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group } from '../contract/adapter-config.js'
import { positiveEntry } from '../contract/peft-entries.js'
import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

export { LoraLayer } from './lora-layer.js'

/** Options of restarts (ReLoRA, arXiv 2307.05695). */
const restartFields = {
  reloraA: optionalChoice('A after each merge: new random values, or those at the start again', ['random', 'start'], {
    defaultText: 'random',
    group,
    needs: ['mergeEvery'],
  }),
}

interface LoraRestartOptions extends RestartRunOptions {
  readonly reloraA?: 'random' | 'start'
}

/**
 * LoRA (arXiv 2106.09685): ΔW = alpha / rank · B A with A [rank, k] and B [d, rank]. Alpha defaults to 2 · rank.
 *
 * ```ts
 * import { loadModel, lora } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * await model.addAdapter('style', lora({ rank: 16, alpha: 32, dropout: 0.05 }))
 * ```
 */
export function lora(options: LowRankOptions = {}): ConfigOf<'lora', LowRankConfig> {
  return lowRankConfig('lora', options)
}

export const loraMethod: AdapterMethod<ConfigOf<'lora', LowRankConfig>, typeof lowRankFields, typeof restartFields> = {
  ...lowRankMethod<ConfigOf<'lora', LowRankConfig>>({
    name: 'lora',
    options: lowRankFields,
    config: lora,
    learningRate: 2e-4,
    embeddings: true,
  }),
  restart: {
    options: restartFields,
    plan: (config, { reloraA = 'random' }: LoraRestartOptions) => ({
      options: { reloraA },
      restored: reloraA === 'start' ? ['lora_A'] : [],
      after: () => config,
    }),
  },
}

/** Rank-stabilised LoRA (arXiv 2312.03732): ΔW = alpha / √rank · B A. Alpha defaults to 2 · rank. */
export function rslora(options: LowRankOptions = {}): ConfigOf<'rslora', LowRankConfig> {
  return lowRankConfig('rslora', options)
}

export const rsloraMethod = lowRankMethod<ConfigOf<'rslora', LowRankConfig>>({
  name: 'rslora',
  options: lowRankFields,
  config: rslora,
  learningRate: 2e-4,
  embeddings: true,
  scale: (alpha, rank) => alpha / Math.sqrt(rank),
  peft: { use_rslora: true },
})

/** LoRA-FA (arXiv 2308.03303): LoRA whose random A is frozen; B alone is trained. */
export function loraFa(options: LowRankOptions = {}): ConfigOf<'lora-fa', LowRankConfig> {
  return lowRankConfig('lora-fa', options)
}

export const loraFaMethod = lowRankMethod<ConfigOf<'lora-fa', LowRankConfig>>({
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

const plusFields = {
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
  const { loraPlusRatio = 16, ...lowRank } = checkedConfig(plusFields, options)
  return { ...lowRankConfig('lora-plus', lowRank), loraPlusRatio }
}

export const loraPlusMethod = lowRankMethod<LoraPlusConfig, typeof plusFields>({
  name: 'lora-plus',
  options: plusFields,
  config: loraPlus,
  learningRate: 1e-4,
  continues: ['lora'],
  ratioOfB: ({ loraPlusRatio }) => loraPlusRatio,
  peft: { node_mora: { method: 'lora-plus', lora_plus_ratio: positiveEntry('loraPlusRatio', { absent: 16 }) } },
})
