import { dirname, resolve } from 'node:path'
import { about, UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import type { DatasetOptions } from '../../data/dataset.js'
import { type DataPurpose, locateData } from '../../data/files/data-files.js'
import type { RowChoices } from '../../data/rows/row-choices.js'
import { type DataSource, withPaths } from '../../data/sources/source.js'
import { resolveTemplate } from '../../data/templates/template.js'
import { type HubOptions, locate } from '../../hub/index.js'
import type { Model } from '../../models/model.js'
import type { ForwardPasses } from '../../models/network/forward-passes.js'
import { poolingOf } from '../../nn/pooling.js'
import { objectiveNamed } from '../../objectives/index.js'
import { type ForwardModel, type Objective, runObjective } from '../../objectives/objective.js'
import { loadRewards } from '../../objectives/reward-module.js'
import type { SampleContext } from '../../objectives/rollouts.js'
import { AdamW } from '../../optim/adamw.js'
import { schedule } from '../../optim/schedule.js'
import { scheduleOptions, TrainSchema, type TrainSettings } from '../../options/index.js'
import { AveragingAdamW } from '../averages.js'
import { pruneCheckpoints, removeLaterCheckpoints, restoreTensors } from '../checkpoints/checkpoint.js'
import type { RunFunctions } from '../checkpoints/function-hashes.js'
import { keepMerges, mergesBeside, repeatMerges } from '../checkpoints/merge-folders.js'
import { type ResumePoint, runFolderOf } from '../checkpoints/resume.js'
import { findResumePointOnRanks } from '../checkpoints/resume-on-ranks.js'
import { compareWithResumed, isAllowed, type RunFacts } from '../checkpoints/run-facts.js'
import { initialState } from '../checkpoints/trainer-state.js'
import { checkedRate, headRate, type LearningRate, setHeadRate } from '../learning-rate.js'
import { truncateMetrics, truncateRollouts, truncateSamples } from '../output/metrics-file.js'
import { OutputFolder } from '../output/output-folder.js'
import { TensorboardFile } from '../output/tensorboard.js'
import type { RankSync } from '../rank-sync.js'
import { valuesToRestore } from '../restart-plan.js'
import type { ResultWriter, Session } from '../session.js'
import { initialValues } from '../untrained.js'
import { requireAsLoaded, requireRanksOf, requireReadable } from './as-loaded.js'
import { requireCapable } from './capability.js'
import { collectFacts, withDefaults } from './collect-facts.js'
import { withKeptValues } from './kept-values.js'
import { setupNotes } from './notes.js'
import { planModel, sameTargets, type TrainedPart } from './plan-model.js'
import { factsToCompare } from './same-on-ranks.js'
import { requireMemory, stepDemand, tokenBudget } from './token-budget.js'
import { loadTrainingData, type TrainingData, type TrainingDataOptions } from './training-data.js'

/** Parts of a run that tests replace. */
export interface TrainingParts {
  /** Returns the text that the model currently generates after a prompt; used for `samplePrompt` only. */
  sample(prompt: string): Promise<string>
  /** Opens a writer of answers by the model with its current weights, for objectives that sample. */
  openWriter: SampleContext['openWriter']
  /** By default the one that the options name. */
  objective?: Objective
  /** Options of the objective that no file can record, such as models. */
  live?: Objective['live']
  /** Replaces the schedule. */
  learningRate?: LearningRate
  /** Ends the run once it is aborted. */
  signal?: AbortSignal
  /** How the program changes and chooses rows. */
  choices?: RowChoices
  /** Returns the time of a monotonic clock in milliseconds, by which temporary checkpoints become due. */
  now?: () => number
}

/** Parts that a run adds. */
interface RunParts extends TrainingParts {
  readonly sync: RankSync
  readonly passes: ForwardPasses
  /** Called repeatedly while rows are tokenised. */
  readonly onTokenised: DatasetOptions['onProgress']
  /** Ends reading rows before the first step. */
  readonly reading?: AbortSignal
  /** Called once everything is computed that the objective keeps. */
  readonly onKept?: () => void
}

/**
 * Prepares a run for its next step: claims the output folder, finds the checkpoint to resume, reads the data, creates the
 * adapter, and loads weights and moments of the checkpoint. Until all of that is done, files of an earlier run stay untouched.
 */
export async function setUp(model: Model, options: TrainSettings, parts: RunParts): Promise<Session> {
  requireAsLoaded(model, options)
  requireReadable(model, options)
  requireRanksOf(model, options, parts.sync.ranks)
  const { resume, overwrite } = options
  const path = parts.sync.isFirst ? options.output : undefined
  const goesOn = resume !== false && path !== undefined && isOutput(resume, path)
  const inputs = [model.path, options.model, options.adapter, options.init, options.teacher].filter(
    (input) => !!input,
  ) as string[]
  const output = path === undefined ? null : await OutputFolder.claim(path, { resume: goesOn, overwrite, inputs })
  const undo: (() => void)[] = []
  try {
    return await setUpIn(output, model, options, { ...parts, undo })
  } catch (error) {
    for (const each of undo) each()
    output?.close()
    throw error
  }
}

/** Whether the resumed run is the one in the output folder, rather than another one that is only read. */
function isOutput(resume: true | string, output: string): boolean {
  return resume === true || resolve(runFolderOf(resume)) === resolve(output)
}

async function setUpIn(
  output: OutputFolder | null,
  model: Model,
  given: TrainSettings,
  parts: RunParts & { undo: (() => void)[] },
): Promise<Session> {
  const { sample, openWriter, now = () => performance.now(), signal } = parts
  const { labels = model.labels ?? undefined, rewards } = given
  const loaded = rewards === undefined ? {} : await loadRewards(rewards)
  const chosen = parts.objective ?? objectiveNamed(given.objective)
  const objective = runObjective(chosen, {
    ...given,
    labels,
    ...loaded,
    ...parts.live,
    // Read by objectives that pool alone: the files may say what is not supported.
    get pooling() {
      return given.pooling ?? poolingOf(model)
    },
  })
  const { sync, passes, onTokenised } = parts
  const { ranks } = sync
  const notices: string[] = []
  const notice = (message: string) => notices.push(message)
  const options = await withCommits(model, given, { onWarning: notice, signal, live: parts.live })
  const folder = options.resume === true ? options.output : options.resume
  await using point = await findResumePointOnRanks(folder || undefined, sync, notice)

  const planned = planModel(model, options, notice)
  passes.gradientCheckpointing = model.gradientCheckpointing
  passes.compute = model.compute
  // Before rows are read, which may take long, reject what cannot fit.
  if (planned.cost) tokenBudget(model, options.memory, stepDemand(planned.cost, false, options), ranks.localSize)
  const from = point && beginningOf(point, options)
  const data = await loadTrainingData(model, options, {
    objective,
    ranks,
    notice,
    signal,
    reading: parts.reading,
    onTokenised,
    choices: parts.choices,
    ...(from && { from }),
  })
  parts.undo.push(() => data.close())
  signal?.throwIfAborted()
  // Weights may be gathered from here on, which needs every rank.
  if (model.shards) await sync.agree()
  const part = await planned.make(objective.labels?.())
  const demand = planned.cost ? stepDemand(planned.cost, true, options) : undefined
  const budget = resumedBudget(point, options) ?? tokenBudget(model, options.memory, demand, ranks.localSize)
  const largest = data.largestPass(budget)
  requireMemory(model, largest, options.memory, demand, ranks.localSize)
  notices.push(...(await setupNotes(model, part, data, options, largest)))
  await recordTemplate(model, options, part)
  if (objective.pooling) model.adapterSet.recordPooling(part.adapter, objective.pooling)
  const parametersOf = () => model.trainableParameters().map(({ parameter }) => parameter)
  const toRestore = await valuesToRestore(part.restarts, parametersOf())
  const trainsHead = objective.labels !== undefined
  const resolved = withDefaults(options, part, data, { ownRate: parts.learningRate, trainsHead })
  const machine = { tokenBudget: budget, ranks: ranks.size }
  const { rewards: judges, tools, environment }: RunFunctions = { ...loaded, ...parts.live }
  const functions = { ...parts.choices, objective: parts.objective, rewards: judges, tools, environment }
  const collected = await collectFacts(model, resolved, part, parametersOf(), data, machine, objective, functions)
  const facts = point ? withRecordedTargets(model, collected, point.record.facts) : collected
  if (point) {
    notices.push(...differencesOf(point, facts, options))
    await repeatRestarts(model, part, point)
  }

  const parameters = parametersOf()
  if (trainsHead && !parts.learningRate) {
    const { learningRate = part.learningRate } = options
    setHeadRate(parameters, headRate(options, learningRate) / learningRate)
  }
  const { emaDecay } = options
  const averaging = emaDecay === undefined ? null : new AveragingAdamW(parameters, options, emaDecay)
  const optimizer = averaging ?? new AdamW(parameters, options)
  parts.undo.push(() => optimizer.dispose())
  if (point) await restoreTensors(point.path, point.record.updates, parameters, optimizer)
  await requireCapable(model, passes, objective, parameters, part.resolved.method)
  signal?.throwIfAborted()
  const state = point?.record.state ?? initialState()
  // Until here other ranks may still read files that the first is about to change.
  await sync.requireSame(() => factsToCompare(facts, parameters, data))
  if (point) notice(`The run continues from step ${state.step} (${point.path}).`)
  if (output) notices.push(...(await beginIn(output, facts, point, options)))
  const isLate = point !== null && (part.adapter === null || part.restarts !== null)
  const kept = { model: passes, data, facts, sync, path: output?.kept ?? null, signal, isLate }
  const prepared = await withKeptValues(objective, kept)
  if (objective.keep) parts.onKept?.()
  const tensorboard = output && options.tensorboard ? await TensorboardFile.begin(output.tensorboard, state.step) : null
  // Reading the model and the rows has taken memory that steps do not need.
  model.device.trim()
  model.device.resetPeak()

  return {
    model,
    passes,
    options,
    parameters,
    optimizer,
    data,
    objective: prepared,
    sync,
    learningRate: learningRateOf(options, part, data, parts.learningRate),
    signal,
    facts,
    result: resultWriter(model, part, options, averaging),
    output,
    sample,
    openWriter,
    tokenizer: model.tokenizer,
    tensorboard,
    restarts: part.restarts,
    valuesToRestore: toRestore,
    notices,
    state,
    lastCheckpoint: output && point ? { step: state.step, path: point.path } : null,
    resumedBeside: point && dirname(point.path),
    bestValues: null,
    initial: point ? null : await initialValues(parameters),
    untrained: null,
    counts: { taken: 0, rated: 0, effective: 0 },
    resultStep: null,
    now,
    savedAt: now(),
    steppedAt: now(),
    seconds: 0,
    tokens: 0,
    peakMemoryBytes: 0,
    canBeSaved: true,
    ended: false,
    toolError: null,
  }
}

/** Returns where the rows of a resumed run begin. */
function beginningOf({ record: { state, facts } }: ResumePoint, options: TrainSettings): TrainingDataOptions['from'] {
  return {
    step: state.step,
    place: state.place,
    isVerified: !isAllowed('data', options.allowChanges ?? []),
    recorded: facts.options,
  }
}

function learningRateOf(
  options: TrainSettings,
  part: TrainedPart,
  data: TrainingData,
  own: LearningRate | undefined,
): Session['learningRate'] {
  const { totalSteps } = data
  if (own) return (state) => checkedRate(own, state, { totalSteps, epoch: data.epochAfter(state.step) })
  const { learningRate = part.learningRate } = options
  const scheduled = schedule({ ...options, ...scheduleOptions(options), learningRate, totalSteps })
  return ({ step }) => scheduled(step)
}

/** Returns the token budget of a run that resumes with the same memory option. */
function resumedBudget(point: ResumePoint | null, { memory }: TrainSettings): number | undefined {
  if (!point || point.record.facts.options.memory !== memory) return undefined
  return point.record.facts.machine.tokenBudget
}

/** Pins hub ids to their current commits, for this run and in `run.yaml`. */
async function withCommits(
  model: Model,
  options: TrainSettings,
  { onWarning, signal, live }: Pick<HubOptions, 'onWarning' | 'signal'> & Pick<TrainingParts, 'live'>,
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
    teacher: (live?.teacher as ForwardModel | undefined)?.reference || options.teacher,
  }
}

/** Returns the facts of a resumed run with its targets as they are recorded, if these select the same layers. */
function withRecordedTargets(model: Model, facts: RunFacts, recorded: RunFacts): RunFacts {
  const { targetModules } = TrainSchema.shape
  const { data: was } = targetModules.safeParse(recorded.options.targetModules)
  const { data: is } = targetModules.safeParse(facts.options.targetModules)
  if (!was || !is || !sameTargets(model, was, is)) return facts
  return { ...facts, options: { ...facts.options, targetModules: recorded.options.targetModules } }
}

function differencesOf({ path, record }: ResumePoint, facts: RunFacts, { allowChanges = [] }: TrainSettings): string[] {
  try {
    return compareWithResumed(record.facts, facts, allowChanges)
  } catch (error) {
    throw about(path, error)
  }
}

/** Restores weights and adapter to their state after the restarts of the resumed run. */
async function repeatRestarts(model: Model, { restarts }: TrainedPart, { path, record }: ResumePoint) {
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

/** Takes the folder over for this run: removes an earlier run, or cuts it off at the step to resume. Returns notices. */
async function beginIn(
  output: OutputFolder,
  facts: RunFacts,
  point: ResumePoint | null,
  options: TrainSettings,
): Promise<string[]> {
  let missing = 0
  if (point) {
    missing = await truncateMetrics(output.metrics, point.record.state)
    await truncateSamples(output.samples, point.record.state)
    await truncateRollouts(output.rollouts, point.record.state)
    await removeLaterCheckpoints(output.checkpoints, point.record.state.step)
    // The earlier run may have ended before it removed these.
    await pruneCheckpoints(output.checkpoints, options, point.record.state)
    await keepMerges(mergesBeside(point.path), output.merges, point.record.state.merges)
  } else if (options.overwrite || options.resume !== false) {
    await output.clear()
  }
  await output.writeRun(facts, point?.record.state.step ?? null)
  if (missing === 0) return []
  return [`${output.metrics} has no line for ${missing} of the ${point?.record.state.step} steps so far.`]
}

async function recordTemplate(model: Model, { template }: TrainSettings, { adapter }: TrainedPart) {
  if (adapter === null || !model.tokenizer) return
  const resolved = await resolveTemplate(template, model.tokenizer)
  model.adapterSet.recordTemplate(adapter, resolved?.hash)
}

/** Returns the writer of the result: the adapter alone, or all weights if the run changed or made those. */
function resultWriter(
  model: Model,
  { adapter, restarts }: TrainedPart,
  { init }: TrainSettings,
  averaging: AveragingAdamW | null,
): ResultWriter {
  if (adapter === null || restarts !== null || init !== undefined) {
    const saveResult = (output: OutputFolder) =>
      model.save(output.model, { dtype: model.dtype, mergeActive: true, overwrite: true })
    return { saveAdapter: null, saveResult }
  }
  const saveAdapter = (folder: string) => model.saveAdapter(adapter, folder)
  const saveResult: ResultWriter['saveResult'] = async ({ path, averages }) => {
    await saveAdapter(path)
    await averaging?.withAverages(() => saveAdapter(averages))
  }
  return { saveAdapter, saveResult }
}
