/** Defaults of training that depend on other options. */
import type { Method } from './new-adapter.js'
import type { Operator } from './operators.js'

/** Below this rank MoRA rotates, from it on it shares. */
const SHARING_FROM_RANK = 64

/** What a new adapter is; what is left out has its method's default. */
export interface NewAdapterOptions {
  method: Method
  rank: number
  operator: Operator
  /** MoRA's: R is a multiple of it. */
  roundRank?: number
  /** Of LoRA and its variants. */
  alpha?: number
  alphaPattern?: Readonly<Record<string, number>>
  loraPlusRatio?: number
  dropout?: number
  rankPattern?: Readonly<Record<string, number>>
  targetModules?: 'all-linear' | string[] | RegExp
  modulesToSave?: string[]
}

type AdapterOptions = Partial<Omit<NewAdapterOptions, 'operator'>> & { operator?: Operator; init?: string }

/** What a new adapter is when these options are given: the rest is the paper's. */
export function newAdapterOptions(options: AdapterOptions): NewAdapterOptions {
  const { method, rank = 8, operator, roundRank, alpha, alphaPattern, loraPlusRatio } = options
  const { dropout, rankPattern, targetModules, modulesToSave } = options
  return {
    method: method ?? (options.init === undefined ? 'mora' : 'full'),
    rank,
    operator: operator ?? (rank < SHARING_FROM_RANK ? 'rotation' : 'sharing'),
    ...{ roundRank, alpha, alphaPattern, loraPlusRatio, dropout, rankPattern, targetModules, modulesToSave },
  }
}

/**
 * From the paper (arXiv 2405.12130, section 5.2: the best of a search on Tulu v2 and MetaMathQA) where it has them; LoRA's
 * for its variants of the same form; docs/methods has where the others come from.
 */
const learningRates: Readonly<Record<Exclude<Method, 'mora' | 'full'>, number>> = {
  lora: 2e-4,
  rslora: 2e-4,
  'lora-plus': 1e-4,
  asylora: 2e-4,
  'lora-fa': 2e-4,
  dora: 2e-4,
  pissa: 2e-5,
  miss: 5e-5,
  hira: 1e-3,
}

/** The peak learning rate of a run that names none; from scratch, one that is usual for small models. */
export function defaultLearningRate(method: Method, operator: Operator, { fromScratch = false } = {}): number {
  if (method === 'full') return fromScratch ? 5e-4 : 2e-5
  if (method !== 'mora') return learningRates[method]
  return operator.startsWith('sharing') ? 5e-5 : 3e-4
}

/** Tokens of a row at most, for a model that is made for `modelLimit` positions. */
export function maxLengthOf(maxLength: number | undefined, modelLimit: number): number {
  return maxLength ?? Math.min(1024, modelLimit)
}
