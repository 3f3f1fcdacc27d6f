import { resolve } from 'node:path'
import type { DatasetOptions } from '../../batches/dataset.js'
import { type HubOptions, locate } from '../../hub/index.js'
import type { Model } from '../../models/model.js'
import type { ForwardPasses } from '../../models/network/forward-passes.js'
import type { Objective } from '../../objectives/objective.js'
import type { TrainSettings } from '../../options/index.js'
import { type DataPurpose, locateData } from '../../rows/files/data-files.js'
import type { RowChoices } from '../../rows/row-choices.js'
import { type DataSource, withPaths } from '../../rows/sources/source.js'
import type { Ranks } from '../../tensor/ranks.js'
import { findResumePointOnRanks, runFolderOf } from '../checkpoints/resume.js'
import type { LearningRate } from '../learning-rate.js'
import type { LoggedNumbers } from '../output/metrics.js'
import { OutputFolder } from '../output/output-folder.js'
import type { RankSync } from '../rank-sync.js'
import { requireAsLoaded } from './as-loaded.js'
import { planModel } from './plan-model.js'
import { objectiveOfRun } from './run-objective.js'
import { stepDemand, tokenBudget } from './token-budget.js'

/** Parts of a run that no file can record. */
export interface RunParts {
  /** The ranks of the run. Default: a single process. */
  ranks?: Ranks | undefined
  /** Called with a function that saves the last step synchronously, while the next is being computed. */
  onBegun?: (saveAtOnce: () => void) => void
  /** The objective. Default: the one that the options name. */
  objective?: Objective | undefined
  /** Replaces the schedule. */
  learningRate?: LearningRate | undefined
  /** Ends the run once it is aborted. */
  signal?: AbortSignal | undefined
  /** The program's functions that change and choose rows. */
  choices?: RowChoices | undefined
  /** Returns the time of a monotonic clock in milliseconds, by which temporary checkpoints become due. */
  now?: (() => number) | undefined
}

/** The parts with which a run is set up. */
export interface SetUpParts extends RunParts {
  readonly model: Model
  readonly options: TrainSettings
  /** The run's own passes of the model. */
  readonly passes: ForwardPasses
  readonly sync: RankSync
  /** Numbers that the user logged, to be written. */
  readonly logged: LoggedNumbers
  /** Called with messages for the user. */
  readonly notice: (message: string) => void
  /** Called repeatedly while rows are tokenised. */
  readonly onTokenised: DatasetOptions['onProgress']
  /** Ends reading rows before the first step. */
  readonly reading: AbortSignal
}

export type PlannedRun = Awaited<ReturnType<typeof planRun>>

/**
 * Decides what a run trains, with which objective, from which step on and into which folder, before rows are read.
 * @param undo gets what releases the parts if the set-up fails, to be called in reverse order
 */
export async function planRun(parts: SetUpParts, undo: (() => unknown)[]) {
  const { model, options: given, passes, sync, signal, notice } = parts
  requireAsLoaded(model, given, sync.ranks)
  const folder = sync.isFirst ? await claimFolder(model, given) : null
  undo.push(() => folder?.close())
  const { objective, functions, teachers, reference } = await objectiveOfRun(model, given, parts, undo)
  const options = await withCommits(model, { ...given, teacher: reference }, { onWarning: notice, signal })
  const resumed = options.resume === true ? options.output : options.resume
  const point = await findResumePointOnRanks(resumed || undefined, sync, notice)
  undo.push(() => point?.[Symbol.asyncDispose]())
  const plan = planModel(model, options, notice)
  passes.gradientCheckpointing = model.gradientCheckpointing
  passes.compute = model.compute
  // Before rows are read, which may take long, reject what cannot fit.
  if (plan.cost) tokenBudget(model, options.memory, stepDemand(plan.cost, false, options), sync.ranks.localSize)
  return { ...parts, options, folder, teachers, objective, functions, point, plan }
}

/** Claims the folder that the options name, if any. */
async function claimFolder(model: Model, options: TrainSettings): Promise<OutputFolder | null> {
  const { output, resume, overwrite } = options
  if (output === undefined) return null
  // A run in another folder is only read.
  const goesOn = resume !== false && (resume === true || resolve(runFolderOf(resume)) === resolve(output))
  const inputs = [model.path, options.model, options.adapter, options.init, options.teacher].filter(
    (input) => !!input,
  ) as string[]
  return OutputFolder.claim(output, { resume: goesOn, overwrite, inputs })
}

/** Pins hub ids to their current commits, for this run and in `run.yaml`. */
async function withCommits(
  model: Model,
  options: TrainSettings,
  { onWarning, signal }: Pick<HubOptions, 'onWarning' | 'signal'>,
): Promise<TrainSettings> {
  const hub = { offline: options.offline, onWarning, signal }
  const references = async (sources: readonly DataSource[] | undefined, purpose: DataPurpose) =>
    sources && withPaths(sources, async (path) => (await locateData(path, { purpose, ...hub })).reference)
  return {
    ...options,
    ...(model.reference !== model.path && { model: model.reference }),
    data: await references(options.data, 'training'),
    evalData: await references(options.evalData, 'validation'),
    adapter: options.adapter && (await locate(options.adapter, 'adapter', hub)).reference,
  }
}
