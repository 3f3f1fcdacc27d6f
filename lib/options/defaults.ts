/** Defaults of training that depend on other options. */
import type { Operator } from './operators.js'
import type { Method, TrainOptions } from './train.js'

/** Below this rank MoRA rotates, from it on it shares. */
const SHARING_FROM_RANK = 64

export interface NewAdapterOptions {
  method: Method
  rank: number
  operator: Operator
  /** MoRA's: R is a multiple of it. */
  roundRank: number
  /** LoRA's; its scale is alpha / rank. */
  alpha: number
  dropout: number
  targetModules: 'all-linear' | string[] | RegExp
  modulesToSave: string[]
}

type AdapterOptions = Pick<
  TrainOptions,
  'method' | 'rank' | 'operator' | 'roundRank' | 'alpha' | 'dropout' | 'targetModules' | 'modulesToSave' | 'init'
>

/** What a new adapter is when these options are given: the rest is the paper's. */
export function newAdapterOptions(options: Partial<AdapterOptions>): NewAdapterOptions {
  const rank = options.rank ?? 8
  return {
    method: options.method ?? (options.init === undefined ? 'mora' : 'full'),
    rank,
    operator: options.operator ?? (rank < SHARING_FROM_RANK ? 'rotation' : 'sharing'),
    roundRank: options.roundRank ?? 1,
    alpha: options.alpha ?? 2 * rank,
    dropout: options.dropout ?? 0,
    targetModules: options.targetModules ?? 'all-linear',
    modulesToSave: options.modulesToSave ?? [],
  }
}

/**
 * Learning rates of the paper (arXiv 2405.12130, section 5.2: the best of a search on Tulu v2 and MetaMathQA); from
 * scratch, one that is usual for small models.
 */
export function defaultLearningRate(method: Method, operator: Operator, { fromScratch = false } = {}): number {
  if (method === 'full') return fromScratch ? 5e-4 : 2e-5
  if (method === 'lora') return 2e-4
  return operator.startsWith('sharing') ? 5e-5 : 3e-4
}

/** Tokens of a row at most, for a model that is made for `modelLimit` positions. */
export function maxLengthOf(maxLength: number | undefined, modelLimit: number): number {
  return maxLength ?? Math.min(1024, modelLimit)
}
