/** A run that continues an earlier one: its state, and what of the earlier run's files stays. */

import { about, UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import type { Model } from '../../models/model.js'
import { TrainSchema, type TrainSettings } from '../../options/index.js'
import { pruneCheckpoints, removeLaterCheckpoints } from '../checkpoints/checkpoint.js'
import { keepMerges, mergesBeside, repeatMerges } from '../checkpoints/merge-folders.js'
import type { ResumePoint } from '../checkpoints/resume.js'
import { truncateMetrics, truncateRollouts, truncateSamples } from '../output/metrics-file.js'
import type { OutputFolder } from '../output/output-folder.js'
import type { RestartPlan } from '../restart-plan.js'
import { compareWithResumed, type RunFacts } from '../run-facts.js'
import { sameTargets } from './plan-model.js'

/** Returns the token budget of a run that resumes with the same memory option. */
export function resumedBudget(point: ResumePoint | null, { memory }: TrainSettings): number | undefined {
  if (!point || point.record.facts.options.memory !== memory) return undefined
  return point.record.facts.machine.tokenBudget
}

/**
 * Compares a run with the one that it continues. Returns its facts, with the targets as they are recorded if these select the same
 * layers.
 */
export function factsOfResumed(
  model: Model,
  { path, record }: ResumePoint,
  facts: RunFacts,
  { allowChanges = [] }: TrainSettings,
  notice: (message: string) => void,
): RunFacts {
  const { targetModules } = TrainSchema.shape
  const { data: was } = targetModules.safeParse(record.facts.options.targetModules)
  const { data: is } = targetModules.safeParse(facts.options.targetModules)
  const same = was && is && sameTargets(model, was, is)
  const recorded = same ? { targetModules: record.facts.options.targetModules } : {}
  const now = { ...facts, options: { ...facts.options, ...recorded } }
  try {
    for (const message of compareWithResumed(record.facts, now, allowChanges)) notice(message)
    return now
  } catch (error) {
    throw about(path, error)
  }
}

/** Restores weights and adapter to their state after the restarts of the resumed run. */
export async function repeatRestarts(
  model: Model,
  restarts: RestartPlan | null,
  { path, record }: ResumePoint,
): Promise<void> {
  const { merges } = record.state
  if (merges === 0) return
  if (restarts === null) {
    throw new UsageError(
      'changed-run',
      `The run to resume (${path}) has merged its adapter, so it continues with ${optionName('mergeEvery')} only.`,
    )
  }
  await repeatMerges(model, mergesBeside(path), merges)
  await model.restartAdapter(restarts.adapter, { ...restarts.after(merges), merge: false })
}

/** Takes the folder over for this run: removes an earlier run, or cuts it off at the step to resume. */
export async function takeOver(
  folder: OutputFolder,
  facts: RunFacts,
  point: ResumePoint | null,
  options: TrainSettings,
  notice: (message: string) => void,
): Promise<void> {
  let missing = 0
  if (point) {
    const { state } = point.record
    missing = await truncateMetrics(folder.metrics, state)
    await truncateSamples(folder.samples, state)
    await truncateRollouts(folder.rollouts, state)
    await removeLaterCheckpoints(folder.checkpoints, state.step)
    // The earlier run may have ended before it removed these.
    await pruneCheckpoints(folder.checkpoints, options, state)
    await keepMerges(mergesBeside(point.path), folder.merges, state.merges)
  } else if (options.overwrite || options.resume !== false) {
    await folder.clear()
  }
  await folder.writeRun(facts, point?.record.state.step ?? null)
  if (missing > 0)
    notice(`${folder.metrics} has no line for ${missing} of the ${point?.record.state.step} steps so far.`)
}
