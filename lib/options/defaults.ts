/** Defaults of training that depend on other options. */

import { operatorCycle, operatorFor } from '../adapters/methods/mora.js'
import type { Operator } from '../adapters/methods/mora-operators.js'
import { DEFAULT_MAX_LENGTH } from '../data/rows/row-length.js'
import { type DescribedField, describedFieldsOf, type Method } from './new-adapter.js'
import type { TrainOptions } from './train.js'

/** What a new adapter is; what is left out has its method's default. */
export interface NewAdapterOptions extends Pick<TrainOptions, DescribedField> {
  method: Method
  rank: number
  operator: Operator
}

type AdapterOptions = Pick<Partial<TrainOptions>, DescribedField | 'init' | 'mergeEvery' | 'cycle'>

/** What a new adapter is when these options are given: the rest is the paper's. */
export function newAdapterOptions(options: AdapterOptions): NewAdapterOptions {
  const { rank = 8, init, mergeEvery } = options
  const isFull = init !== undefined && mergeEvery === undefined
  const { method = isFull ? 'full' : 'mora' } = options
  const described = describedFieldsOf(method)
  return {
    ...Object.fromEntries(Object.entries(options).filter(([name]) => described.includes(name))),
    method,
    rank,
    operator: options.operator ?? (mergeEvery === undefined ? operatorFor(rank) : operatorCycle(options)[0]!),
  }
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

/** The peak learning rate of full training that names none; from scratch, one that is usual for small models. */
export const fullLearningRate = (fromScratch: boolean): number => (fromScratch ? 5e-4 : 2e-5)

/** What to know of rows that may be longer than a model was made for. */
export function pastPositions(maxLength: number, modelLimit: number): string | undefined {
  if (maxLength <= modelLimit) return undefined
  return `Rows may have ${maxLength} tokens, but the model was made for ${modelLimit}: later positions are new to it.`
}

/** Tokens of a row at most, for a model that is made for `modelLimit` positions. */
export function maxLengthOf(maxLength: number | undefined, modelLimit: number): number {
  return maxLength ?? Math.min(DEFAULT_MAX_LENGTH, modelLimit)
}
