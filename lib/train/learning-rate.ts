/** A learning rate that a function of the caller computes. */

import { SCORE_WEIGHT } from '../adapters/contract/base-model.js'
import { quoted, UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { HEAD_RATE } from '../objectives/reward.js'
import type { TrainSettings } from '../options/index.js'
import type { Parameter } from '../tensor/parameter.js'
import { sourceHash } from './checkpoints/function-hashes.js'
import type { TrainerState } from './trainer-state.js'

/**
 * Returns the rate of schedule step `step`, counted from 0 as in `schedule`: optimizer step `step + 1` uses it. At least 0.
 * @param progress the progress of the run before the step
 */
export type LearningRate = (
  step: number,
  progress: {
    /** Optimizer steps of the whole run. */
    totalSteps: number
    /** Passes over the data so far. */
    epoch: number
    /** The loss of the previous step; null before the first. */
    loss: number | null
    /** The loss of the last evaluation; null before the first. */
    evalLoss: number | null
  },
) => number

/** Returns the text by which `run.yaml` records the function: a hash of its source. What the source refers to is unknown. */
export function recordedAs(rate: LearningRate): string {
  return `function with sha256 ${sourceHash(rate)}`
}

/** @throws UsageError `bad-value` if the function returned no valid rate */
export function checkedRate(
  rate: LearningRate,
  { step, loss, evalLoss }: TrainerState,
  progress: { totalSteps: number; epoch: number },
): number {
  const value: unknown = rate(step, { ...progress, loss, evalLoss })
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value
  throw new UsageError(
    'bad-value',
    `Expected a finite number of at least 0 from the function ${optionName('learningRate')} for schedule step ${step} but received ${quoted(value)}.`,
  )
}

/** Returns the peak learning rate of a head of labels. */
export const headRate = ({ headLearningRate }: Pick<TrainSettings, 'headLearningRate'>, learningRate: number): number =>
  headLearningRate ?? Math.max(HEAD_RATE, learningRate)

/** Sets the learning rate of a trained head of labels, relative to the rate of the other tensors. */
export function setHeadRate(parameters: readonly Parameter[], ratio: number): void {
  for (const parameter of parameters) if (parameter.name === SCORE_WEIGHT) parameter.learningRateRatio = ratio
}
