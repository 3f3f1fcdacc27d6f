/** Defaults of training that depend on other options. */

import type { Method } from './new-adapter.js'
import type { Operator } from './operators.js'
import type { TrainOptions } from './train.js'

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

type AdapterOptions = Partial<Omit<NewAdapterOptions, 'operator'>> & {
  operator?: Operator
  init?: string
  mergeEvery?: number
  cycle?: readonly Operator[]
}

/** What a new adapter is when these options are given: the rest is the paper's. */
export function newAdapterOptions(options: AdapterOptions): NewAdapterOptions {
  const { method, rank = 8, roundRank, alpha, alphaPattern, loraPlusRatio } = options
  const { dropout, rankPattern, targetModules, modulesToSave, init, mergeEvery } = options
  const operator = rank < SHARING_FROM_RANK ? 'rotation' : 'sharing'
  const isFull = init !== undefined && mergeEvery === undefined
  return {
    method: method ?? (isFull ? 'full' : 'mora'),
    rank,
    operator: options.operator ?? (mergeEvery === undefined ? operator : operatorCycle(options)[0]!),
    ...{ roundRank, alpha, alphaPattern, loraPlusRatio, dropout, rankPattern, targetModules, modulesToSave },
  }
}

/** Operators that ReMoRA takes in turn (the paper's, Appendix B: types 1 and 2). */
export function operatorCycle({ cycle, operator }: Pick<AdapterOptions, 'cycle' | 'operator'>): readonly Operator[] {
  return cycle ?? (operator ? [operator] : ['sharing', 'sharing-grouped'])
}

/** The course of the learning rate when these options are given. */
export function scheduleOptions(
  options: Pick<TrainOptions, 'mergeEvery' | 'scheduler' | 'minLearningRateRatio' | 'restartWarmupSteps'>,
) {
  const scheduler = options.scheduler ?? (options.mergeEvery === undefined ? 'cosine' : 'cosine-restarts')
  const restarts = scheduler === 'cosine-restarts'
  return {
    scheduler,
    minLearningRateRatio: options.minLearningRateRatio ?? (restarts ? 0.1 : 0),
    restartWarmupSteps: restarts ? (options.restartWarmupSteps ?? 50) : undefined,
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
  if (fromScratch) return 5e-4
  if (method === 'full') return 2e-5
  if (method !== 'mora') return learningRates[method]
  return operator.startsWith('sharing') ? 5e-5 : 3e-4
}

/** What to know of rows that may be longer than a model was made for. */
export function pastPositions(maxLength: number, modelLimit: number): string | undefined {
  if (maxLength <= modelLimit) return undefined
  return `Rows may have ${maxLength} tokens, but the model was made for ${modelLimit}: later positions are new to it.`
}

/** Tokens of a row at most, for a model that is made for `modelLimit` positions. */
export function maxLengthOf(maxLength: number | undefined, modelLimit: number): number {
  return maxLength ?? Math.min(1024, modelLimit)
}
