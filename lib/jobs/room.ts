/** Memory and disk of a job, before it is queued. */
import { planAdapter } from '../adapters/planning/adapter-plan.js'
import type { Model } from '../models/index.js'
import type { TrainSettings } from '../options/index.js'
import { stepDemand, tokenBudget } from '../train/setup/token-budget.js'
import { adapterOfJob } from './automatic.js'

/** Checkpoints that a run has at one time: three of epochs, one by time, and one being written. */
const CHECKPOINTS = 5
/** Bytes of a trained value in a checkpoint: itself, its two moments, and again in the adapter's file. */
const OF_A_VALUE = 16

/**
 * Returns the bytes that a run writes to the disk.
 * @param later whether memory is free only later, so that it is not looked at
 * @throws UsageError `too-little-memory`, and what is wrong with the adapter
 */
export function requireMemoryOf(options: TrainSettings, model: Model, later: boolean): number {
  const { cost } = planAdapter(adapterOfJob(options), model.adaptableLayers(), model.base, model)
  if (!later) tokenBudget(model, options.memory, stepDemand(cost, false))
  return (CHECKPOINTS + 1) * OF_A_VALUE * cost.trained
}
