import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import { isSelected } from '../../adapters/contract/patterns.js'
import { rankNotes } from '../../adapters/planning/adapter-cost.js'
import { type DataPurpose, locateData } from '../../data/files/data-files.js'
import { resolveTemplate } from '../../data/templates/template.js'
import { about, UsageError } from '../../errors.js'
import { hubIdOf, locate, mayMean, parseHubId } from '../../hub/index.js'
import { sha256File } from '../../io/atomic.js'
import { elementsOf } from '../../native.js'
import { schedule } from '../../optim/schedule.js'
import { plainOptions, scheduleOptions, type TrainOptions } from '../../options/index.js'
import { loadCheckpoint, pruneCheckpoints, removeLaterCheckpoints } from '../checkpoints/checkpoint.js'
import { keepMerges, mergesBeside, repeatMerges } from '../checkpoints/merge-folders.js'
import { findResumePoint, type ResumePoint, runFolderOf } from '../checkpoints/resume.js'
import { compareWithResumed, type RunFacts } from '../checkpoints/run-facts.js'
import { initialState } from '../checkpoints/trainer-state.js'
import { truncateMetrics, truncateSamples } from '../output/metrics-file.js'
import { OutputFolder } from '../output/output-folder.js'
import { TensorboardFile } from '../output/tensorboard.js'
import { type Ranks, singleRank } from '../ranks.js'
import type { ResultWriter, Session } from '../session.js'
import type { Optimizer, TrainableModel, TrainedParameter } from '../trainable.js'
import { requireCapable } from './capability.js'
import { modelFingerprint } from './fingerprint.js'
import { planModel, type TrainedPart } from './set-up-model.js'
import { requireMemory, stepDemand, tokenBudget } from './token-budget.js'
import { loadTrainingData, type TrainingData } from './training-data.js'
import { versions } from './versions.js'

/** What differs between training on a device and testing without one. */
export interface TrainingParts {
  createOptimizer(
    parameters: readonly TrainedParameter[],
    options: Pick<TrainOptions, 'beta1' | 'beta2' | 'epsilon' | 'weightDecay'>,
  ): Optimizer
  /** What the model writes after a prompt, as it is then; asked for `samplePrompt` only. */
  sample(prompt: string): Promise<string>
  ranks?: Ranks
  /** Milliseconds of a clock that only goes forwards: says when a checkpoint by time is due. */
  now?: () => number
}

/**
 * Makes a run ready for its next step: claims the output folder, finds where to go on, reads the data, makes the model's
 * adapter, and loads weights and moments of the checkpoint. Nothing of an earlier run is touched before all of that is done.
 */
export async function setUp(model: TrainableModel, options: TrainOptions, parts: TrainingParts): Promise<Session> {
  requireAsLoaded(model, options)
  requireReadable(model, options)
  const { output: path, resume, overwrite } = options
  const goesOn = resume !== false && path !== undefined && isOutput(resume, path)
  const inputs = [model.path, options.model, options.adapter, options.init].filter((input) => !!input) as string[]
  const output = path === undefined ? null : await OutputFolder.claim(path, { resume: goesOn, overwrite, inputs })
  try {
    return await setUpIn(output, model, options, parts)
  } catch (error) {
    output?.close()
    throw error
  }
}

/** A model is trained where it is: options that say otherwise are refused instead of being overlooked. */
function requireAsLoaded(model: TrainableModel, options: TrainOptions): void {
  const { device, dtype, reference } = model
  const is = { device: device.kind, dtype, threads: device.facts().threads, model: reference }
  const wanted = {
    device: options.device === 'auto' ? undefined : options.device.split(':')[0],
    dtype: options.dtype === 'auto' ? undefined : options.dtype,
    threads: device.kind === 'cpu' ? options.threads : undefined,
    model: options.model === undefined || namesModel(options.model, model) ? undefined : options.model,
  }
  for (const name of ['device', 'dtype', 'threads', 'model'] as const) {
    if (wanted[name] === undefined || wanted[name] === is[name]) continue
    throw new UsageError(
      'unfit-options',
      `The option ${name} is ${options[name]}, but the model was loaded with ${is[name]}: leave the option out, or give it to loadModel.`,
    )
  }
}

/** Whether a path or id is that of a model. A model made from random numbers has none, and any is that of its tokenizer. */
function namesModel(name: string, { path, reference }: TrainableModel): boolean {
  if (path === '' || resolve(name) === resolve(path)) return true
  const [id, found] = [hubIdOf(name), reference === path ? null : parseHubId(reference)]
  return id !== null && found !== null && mayMean(id, found)
}

function requireReadable({ tokenizer }: TrainableModel, { samplePrompt }: TrainOptions): void {
  if (samplePrompt === undefined || tokenizer) return
  throw new UsageError(
    'no-tokenizer',
    'The option samplePrompt needs a tokenizer, and the model has none: leave the option out, or put tokenizer.json beside the model.',
  )
}

/** Whether what is resumed is the run in the output folder, and not another one that is only read. */
function isOutput(resume: true | string, output: string): boolean {
  return resume === true || resolve(runFolderOf(resume)) === resolve(output)
}

async function setUpIn(
  output: OutputFolder | null,
  model: TrainableModel,
  given: TrainOptions,
  { createOptimizer, sample, ranks = singleRank, now = () => performance.now() }: TrainingParts,
): Promise<Session> {
  const notices: string[] = []
  const notice = (message: string) => notices.push(message)
  const options = await withCommits(model, given, notice)
  const from = options.resume === true ? options.output : options.resume
  const point = from ? await findResumePoint(from, notice) : null

  const planned = planModel(model, options)
  // What cannot fit is refused before the time that rows may take.
  if (planned.cost) tokenBudget(model, options.memory, stepDemand(planned.cost, false))
  const data = await loadTrainingData(model, options, { ranks, notice })
  const part = await planned.make()
  const demand = planned.cost ? stepDemand(planned.cost, true) : undefined
  const budget = resumedBudget(point, options) ?? tokenBudget(model, options.memory, demand)
  requireMemory(model, data.largestPass(budget), options.memory, demand)
  notices.push(...notesOfRanks(model, part))
  await recordTemplate(model, options, part)
  notices.push(...promotedBase(model))
  if (options.init === undefined) notices.push(...(await untrainedTargets(model, part, data)))
  const parametersOf = () => model.trainableParameters().map(({ parameter }) => parameter)
  const resolved = withDefaults(options, part, data)
  const facts = await factsOf(model, resolved, part, parametersOf(), data, budget)
  if (point) {
    notices.push(...differencesOf(point, facts, options))
    await repeatRestarts(model, part, point)
  }

  const parameters = parametersOf()
  const optimizer = createOptimizer(parameters, options)
  if (point) await loadCheckpoint(point.path, point.record, parameters, optimizer)
  await requireCapable(model, parameters)
  const state = point?.record.state ?? initialState()
  if (point) notice(`The run goes on from step ${state.step} (${point.path}).`)
  if (output) notices.push(...(await beginIn(output, facts, point, options)))
  const tensorboard = output && options.tensorboard ? await TensorboardFile.begin(output.tensorboard, state.step) : null
  model.device.resetPeak()

  const { learningRate } = resolved
  return {
    model,
    options,
    parameters,
    optimizer,
    data,
    ranks,
    learningRate: schedule({ ...options, ...scheduleOptions(options), learningRate, totalSteps: data.totalSteps }),
    facts,
    result: resultWriter(model, part, options),
    output,
    sample,
    tensorboard,
    restarts: part.restarts,
    notices,
    state,
    lastCheckpoint: point ? { step: state.step, path: point.path } : null,
    now,
    savedAt: now(),
    steppedAt: now(),
    seconds: 0,
    tokens: 0,
    peakMemoryBytes: 0,
    ended: false,
  }
}

/** Of a run that goes on with the memory that it had. */
function resumedBudget(point: ResumePoint | null, { memory }: TrainOptions): number | undefined {
  if (!point || point.record.facts.options.memory !== memory) return undefined
  return point.record.facts.machine.tokenBudget
}

/** Ids of the hub mean from here on, and in `run.yaml`, what they mean now. */
async function withCommits(
  model: TrainableModel,
  options: TrainOptions,
  onWarning: (message: string) => void,
): Promise<TrainOptions> {
  const hub = { offline: options.offline, onWarning }
  const references = async (sources: readonly string[] | undefined, purpose: DataPurpose) => {
    const found: string[] = []
    for (const source of sources ?? []) found.push((await locateData(source, { purpose, ...hub })).reference)
    return sources && found
  }
  return {
    ...options,
    ...(model.reference !== model.path && { model: model.reference }),
    data: await references(options.data, 'training'),
    evalData: await references(options.evalData, 'validation'),
    adapter: options.adapter && (await locate(options.adapter, 'adapter', hub)).reference,
  }
}

function differencesOf({ path, record }: ResumePoint, facts: RunFacts, { allowChanges = [] }: TrainOptions): string[] {
  try {
    return compareWithResumed(record.facts, facts, allowChanges)
  } catch (error) {
    throw about(path, error)
  }
}

/** Brings weights and adapter to where the restarts of a run had brought them. */
async function repeatRestarts(model: TrainableModel, { restarts }: TrainedPart, { path, record }: ResumePoint) {
  const { merges } = record.state
  if (merges === 0) return
  if (restarts === null) {
    throw new UsageError(
      'changed-run',
      `The run to resume (${path}) has merged its adapter, so it goes on with mergeEvery only.`,
    )
  }
  await repeatMerges(model, mergesBeside(path), merges)
  await model.restartAdapter(restarts.adapter, { ...restarts.after(merges), merge: false })
}

/** From here on the folder is this run's: an earlier one is removed, or cut off where it goes on. Returns notices. */
async function beginIn(
  output: OutputFolder,
  facts: RunFacts,
  point: ResumePoint | null,
  options: TrainOptions,
): Promise<string[]> {
  let missing = 0
  if (point) {
    missing = await truncateMetrics(output.metrics, point.record.state)
    await truncateSamples(output.samples, point.record.state)
    await removeLaterCheckpoints(output.checkpoints, point.record.state.step)
    // What the run was about to remove when it ended.
    await pruneCheckpoints(output.checkpoints, options, point.record.state)
    await keepMerges(mergesBeside(point.path), output.merges, point.record.state.merges)
  } else if (options.overwrite || options.resume !== false) {
    await output.clear()
  }
  await output.writeRun(facts, point?.record.state.step ?? null)
  if (missing === 0) return []
  return [`${output.metrics} has no line for ${missing} of the ${point?.record.state.step} steps so far.`]
}

function notesOfRanks(model: TrainableModel, { adapter }: TrainedPart): string[] {
  if (adapter === null) return []
  const config = model.adapters.get(adapter)!
  return rankNotes(
    config,
    model.adaptableLayers().filter((layer) => isSelected(config.targetModules, layer)),
  )
}

/** Weights in blocks are no more what their file holds once they are trained on. */
function promotedBase({ base, dtype }: TrainableModel): string[] {
  const format = base.identity()?.format
  if (format === undefined || format === dtype || /float/i.test(format)) return []
  return [`The model's weights are stored as ${format}; training computes with them in ${dtype}.`]
}

/** The adapter remembers the template of its rows, so that another one can be noticed later. */
async function recordTemplate(model: TrainableModel, { template }: TrainOptions, { adapter }: TrainedPart) {
  if (adapter === null || !model.tokenizer) return
  const resolved = await resolveTemplate(template, model.tokenizer)
  const { adapterSet } = model
  adapterSet.setProvenance(adapter, { ...adapterSet.provenance(adapter), templateHash: resolved?.hash })
}

/** An adapter cannot teach a model to write a token that its frozen embeddings and head never learnt (as of many base models). */
async function untrainedTargets(
  model: TrainableModel,
  { adapter }: TrainedPart,
  { trainedSpecialTokens: targets }: TrainingData,
): Promise<string[]> {
  if (adapter === null || targets.length === 0) return []
  const untrained = await model.untrainedTokens(targets.map(({ id }) => id))
  return targets
    .filter(({ id }) => untrained.includes(id))
    .map(
      ({ token, count }) =>
        `${token} is ${count} times a token to learn, but the model's embedding or head looks as if it had never been trained for it: it may never be written; train both whole (modulesToSave: embeddings,head), or use a template of other tokens.`,
    )
}

type ResolvedOptions = TrainOptions & { learningRate: number }

function withDefaults(options: TrainOptions, part: TrainedPart, data: TrainingData): ResolvedOptions {
  const learningRate = options.learningRate ?? part.learningRate
  return {
    ...options,
    ...scheduleOptions(options),
    learningRate,
    maxLength: data.maxLength,
    maxSteps: data.totalSteps,
  }
}

async function factsOf(
  model: TrainableModel,
  options: ResolvedOptions,
  { resolved }: TrainedPart,
  parameters: readonly TrainedParameter[],
  data: TrainingData,
  budget: number,
): Promise<RunFacts> {
  const { device, dtype } = model
  const { name, detail, threads } = device.facts()
  return {
    options: plainOptions({ ...options, ...resolved, model: options.model ?? model.reference }),
    machine: { device: device.kind, processor: `${name} (${detail})`, threads, dtype, tokenBudget: budget },
    versions: versions(),
    hashes: { model: await modelHash(model, options), data: data.hash, evalData: data.evaluationHash },
    trainable: {
      tensors: parameters.length,
      parameters: parameters.reduce((sum, { shape }) => sum + elementsOf(shape), 0),
    },
  }
}

/** Of the files; of a model made from random numbers, of its configuration (the seed is an option). */
function modelHash(model: TrainableModel, options: TrainOptions): Promise<string> | string {
  if (options.init !== undefined) return sha256File(options.init)
  if (model.path !== '') return modelFingerprint(model.path)
  return createHash('sha256').update(JSON.stringify(model.config.json)).digest('hex')
}

/** An adapter is of use on the weights that it was trained on; where a run changed or made those, all of them are the result. */
function resultWriter(model: TrainableModel, { adapter, restarts }: TrainedPart, { init }: TrainOptions): ResultWriter {
  if (adapter === null || restarts !== null || init !== undefined) {
    const saveResult = (output: OutputFolder) => model.save(output.model, { dtype: model.dtype, mergeActive: true })
    return { saveAdapter: null, saveResult }
  }
  return {
    saveAdapter: (folder) => model.saveAdapter(adapter, folder),
    saveResult: (output) => model.saveAdapter(adapter, output.path),
  }
}
