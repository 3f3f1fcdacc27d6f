import { dirname } from 'node:path'
import { AdamW } from '../../optim/adamw.js'
import { schedule } from '../../optim/schedule.js'
import { scheduleOptions } from '../../options/index.js'
import { resolveTemplate } from '../../text/template.js'
import { AveragingAdamW } from '../averages.js'
import { restoreTensors } from '../checkpoints/checkpoint.js'
import { checkedRate, headRate, setHeadRate } from '../learning-rate.js'
import { Metrics } from '../output/metrics.js'
import { TensorboardFile } from '../output/tensorboard.js'
import { valuesToRestore } from '../restart-plan.js'
import { loadRunRows, type RunRows } from '../rows.js'
import { isAllowed } from '../run-facts.js'
import type { RunOutput, RunProgress, RunWork, Session } from '../session.js'
import { initialState } from '../trainer-state.js'
import { initialValues } from '../untrained.js'
import { requireCapable } from './capability.js'
import { collectFacts } from './collect-facts.js'
import { setupNotes } from './notes.js'
import type { TrainedPart } from './plan-model.js'
import { type PlannedRun, planRun, type SetUpParts } from './plan-run.js'
import { withPrecomputedValues } from './precomputed-values.js'
import { factsOfResumed, repeatRestarts, resumedBudget, takeOver } from './resumed.js'
import { factsToCompare } from './same-on-ranks.js'
import { requireMemory, stepDemand, tokenBudget } from './token-budget.js'

/**
 * Prepares a run for its next step: claims the output folder, finds the checkpoint to resume, reads the data, creates the
 * adapter, and loads weights and moments of the checkpoint. Until all of that is done, files of an earlier run stay untouched.
 */
export async function setUp(parts: SetUpParts): Promise<Session> {
  const undo: (() => unknown)[] = []
  try {
    const run = await planRun(parts, undo)
    const rows = await setUpRows(run)
    undo.push(() => rows.steps.close())
    run.signal?.throwIfAborted()
    const made = await setUpWork(run, rows, undo)
    const output = await setUpOutput(run, rows, made)
    const work = await withPrecomputedValues(made, rows, {
      path: run.folder?.kept ?? null,
      isResumed: run.point !== null,
    })
    await run.point?.[Symbol.asyncDispose]()
    return { options: run.options, work, rows, output, progress: setUpProgress(run) }
  } catch (error) {
    for (const each of undo.reverse()) await each()
    throw error
  }
}

/** Reads the rows that the next step needs, or all. */
function setUpRows({ model, options, sync, point, ...parts }: PlannedRun): Promise<RunRows> {
  const from = point
    ? {
        step: point.record.state.step,
        place: point.record.state.place,
        isVerified: !isAllowed('data', options.allowChanges ?? []),
        recorded: point.record.facts.options,
      }
    : undefined
  return loadRunRows(model, options, { ...parts, ranks: sync.ranks, from })
}

/** Makes the tensors to train, and chooses the maximum number of tokens of a pass, which must fit in memory beside them. */
async function makePart(run: PlannedRun, rows: RunRows): Promise<{ part: TrainedPart; budget: number }> {
  const { model, options, objective, plan, point, sync, notice } = run
  // Weights may be gathered from here on, which needs every rank.
  if (model.shards) await sync.agree()
  const part = await plan.make(objective.labels?.())
  const { localSize } = sync.ranks
  const demand = plan.cost ? stepDemand(plan.cost, true, options) : undefined
  const budget = resumedBudget(point, options) ?? tokenBudget(model, options.memory, demand, localSize)
  const largest = rows.largestPass(budget)
  requireMemory(model, largest, options.memory, demand, localSize)
  for (const message of await setupNotes(model, part, rows, options, largest)) notice(message)
  if (part.adapter !== null && model.tokenizer) {
    const template = await resolveTemplate(options.template, model.tokenizer)
    model.adapterSet.recordTemplate(part.adapter, template?.hash)
  }
  if (objective.pooling) model.adapterSet.recordPooling(part.adapter, objective.pooling)
  return { part, budget }
}

/** Makes the trained tensors and their optimizer, with the values of the checkpoint to resume, and tries a pass. */
async function setUpWork(run: PlannedRun, rows: RunRows, undo: (() => unknown)[]): Promise<RunWork> {
  const { model, passes, options, objective, point, sync, signal, notice, teachers } = run
  const { part, budget } = await makePart(run, rows)
  const parametersOf = () => model.trainableParameters().map(({ parameter }) => parameter)
  const values = await valuesToRestore(part.restarts, parametersOf())
  const collected = await collectFacts(run, rows, part, parametersOf(), budget)
  const facts = point ? factsOfResumed(model, point, collected, options, notice) : collected
  if (point) await repeatRestarts(model, part.restarts, point)

  const parameters = parametersOf()
  const { learningRate = part.learningRate, emaDecay } = options
  if (objective.labels && !run.learningRate) setHeadRate(parameters, headRate(options, learningRate) / learningRate)
  const optimizer =
    emaDecay === undefined ? new AdamW(parameters, options) : new AveragingAdamW(parameters, options, emaDecay)
  undo.push(() => optimizer.dispose())
  if (point) await restoreTensors(point.path, point.record.updates, parameters, optimizer)
  await requireCapable(model, passes, objective, parameters, part.resolved.method)
  signal?.throwIfAborted()
  return {
    model,
    passes,
    objective,
    optimizer,
    parameters,
    sync,
    signal,
    facts,
    learningRate: learningRateOf(run, rows, part),
    // With restarts or a new model, the run changes or makes all weights.
    adapter: part.restarts || options.init !== undefined ? null : part.adapter,
    restarts: part.restarts && { ...part.restarts, values },
    initial: point ? null : await initialValues(parameters),
    teachers,
    canBeSaved: true,
  }
}

/** Takes the folder over, once all ranks have the same run. */
async function setUpOutput(run: PlannedRun, rows: RunRows, work: RunWork): Promise<RunOutput> {
  const { options, sync, point, notice, folder, logged } = run
  const { facts, parameters } = work
  // Until here other ranks may still read files that the first is about to change.
  await sync.requireSame(() => factsToCompare(facts, parameters, rows))
  const step = point?.record.state.step ?? 0
  if (point) notice(`The run continues from step ${step} (${point.path}).`)
  if (folder) await takeOver(folder, facts, point, options, notice)
  const tensorboard = folder && options.tensorboard ? await TensorboardFile.begin(folder.tensorboard, step) : null
  return {
    folder,
    metrics: new Metrics(folder, tensorboard, logged),
    lastCheckpoint: folder && point ? { step, path: point.path } : null,
    resumedBeside: point && dirname(point.path),
    bestValues: null,
    resultStep: null,
  }
}

function setUpProgress({ model, point, now = () => performance.now() }: PlannedRun): RunProgress {
  // Reading the model and the rows has taken memory that steps do not need.
  model.device.trim()
  model.device.resetPeak()
  return {
    state: point?.record.state ?? initialState(),
    counts: { taken: 0, rated: 0, effective: 0 },
    now,
    savedAt: now(),
    steppedAt: now(),
    seconds: 0,
    tokens: 0,
    peakMemoryBytes: 0,
    toolError: null,
    hasEnded: false,
  }
}

function learningRateOf({ options, learningRate: own }: PlannedRun, rows: RunRows, part: TrainedPart) {
  const { totalSteps } = rows.steps
  if (own) {
    return (state: RunProgress['state']) =>
      checkedRate(own, state, { totalSteps, epoch: rows.steps.epochAfter(state.step) })
  }
  const { learningRate = part.learningRate } = options
  const scheduled = schedule({ ...options, ...scheduleOptions(options), learningRate, totalSteps })
  return ({ step }: RunProgress['state']) => scheduled(step)
}
