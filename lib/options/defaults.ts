/** Defaults of training that depend on other options. */

import { operatorCycle, operatorFor } from '../adapters/methods/mora.js'
import type { Operator } from '../adapters/methods/mora-operators.js'
import { DEFAULT_MAX_LENGTH } from '../rows/row-choices.js'
import { type DescribedField, describedFieldsOf, type Method } from './new-adapter.js'
import type { TrainSettings } from './train.js'

/** The description of a new adapter; options left out have their method's defaults. */
interface NewAdapterOptions extends Pick<TrainSettings, DescribedField> {
  method: Method
  rank: number
  operator: Operator
}

type AdapterOptions = Pick<Partial<TrainSettings>, DescribedField | 'init' | 'mergeEvery' | 'cycle'>

/** Completes the description of a new adapter with the paper's defaults. */
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

/** Completes the options of the learning-rate schedule. */
export function scheduleOptions(
  options: Pick<TrainSettings, 'mergeEvery' | 'scheduler' | 'minLearningRateRatio' | 'restartWarmupSteps'>,
) {
  const scheduler = options.scheduler ?? (options.mergeEvery === undefined ? 'cosine' : 'cosine-restarts')
  const restarts = scheduler === 'cosine-restarts'
  return {
    scheduler,
    minLearningRateRatio: options.minLearningRateRatio ?? (restarts ? 0.1 : 0),
    restartWarmupSteps: restarts ? (options.restartWarmupSteps ?? 50) : undefined,
  }
}

/** The default peak learning rate of full training; from scratch, one that is usual for small models. */
export const fullLearningRate = (fromScratch: boolean): number => (fromScratch ? 5e-4 : 2e-5)

/** Returns a notice if rows may be longer than the model's limit. */
export function pastPositions(maxLength: number, modelLimit: number): string | undefined {
  if (maxLength <= modelLimit) return undefined
  return `Rows may have ${maxLength} tokens, but the model was trained on at most ${modelLimit}: later positions are new to it.`
}

/** Returns the maximum number of tokens of a row: by default 1024, or the model's number of positions if that is lower. */
export function maxLengthOf(maxLength: number | undefined, modelLimit: number): number {
  return maxLength ?? Math.min(DEFAULT_MAX_LENGTH, modelLimit)
}

/** Whether a run ends with the values of its best evaluation. */
export function endsWithBest({ keepBest, patience }: Pick<TrainSettings, 'keepBest' | 'patience'>): boolean {
  return keepBest || patience !== undefined
}
