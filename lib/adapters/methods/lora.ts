import { optionalChoice } from '../../schema/option.js'
import type { RestartRunOptions } from '../contract/adapter.js'
import { newAdapterGroup as group } from '../contract/adapter-config.js'
import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

export { LoraLayer } from './lora-layer.js'

export interface LoraConfig extends LowRankConfig {
  readonly method: 'lora'
}

/** Options of restarts (ReLoRA, arXiv 2307.05695). */
export const loraRestartFields = {
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
export function lora(options: LowRankOptions = {}): LoraConfig {
  return lowRankConfig('lora', options)
}

export const loraMethod = lowRankMethod<LoraConfig>({
  name: 'lora',
  options: lowRankFields,
  config: lora,
  learningRate: 2e-4,
  embeddings: true,
  restart: {
    options: loraRestartFields,
    plan: (config, { reloraA = 'random' }: LoraRestartOptions) => ({
      options: { reloraA },
      restored: reloraA === 'start' ? ['lora_A'] : [],
      after: () => config,
    }),
  },
})
