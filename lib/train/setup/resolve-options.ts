/**
 * The options of a run, checked. A call of `train` goes through `resolveTrainOptions`; the command line has resolved flags and file
 * already, and goes through `checkTrainOptions`. What depends on the model is checked when it is known (as-loaded.ts, plan-model.ts).
 */
import { z } from 'zod'
import type { AdapterMethod } from '../../adapters/contract/adapter.js'
import { UsageError } from '../../common/errors.js'
import { optionName, TheOption } from '../../common/option-names.js'
import { checkLoadedForm } from '../../models/load-options.js'
import { type ObjectiveName, objectiveNamed } from '../../objectives/index.js'
import type { Objective } from '../../objectives/objective.js'
import {
  checkNewAdapterOptions,
  exclude,
  isGiven,
  refuse,
  requireNeeded,
  requireOneReader,
  requireOptions,
} from '../../options/checks.js'
import {
  type Method,
  newAdapterOptions,
  type OptionSource,
  optionFacts,
  parseOptions,
  scheduleNames,
  scheduleOptions,
  type TrainInput,
  TrainSchema,
  type TrainSettings,
} from '../../options/index.js'
import { runFolderOf } from '../checkpoints/resume.js'
import type { LearningRate } from '../learning-rate.js'

/** Values of a call in place of names or numbers. */
interface OwnValues {
  /** A method from outside of the library, which adds its options; where names are equal, both use the run's option. */
  readonly method?: AdapterMethod | undefined
  /** Recorded by its name and its options. */
  readonly objective?: Objective | undefined
  readonly learningRate?: LearningRate | undefined
}

/** Returns the options of a call with every default filled in. Throws a `UsageError` that names the wrong option. */
export function resolveTrainOptions(input: TrainInput, own: OwnValues = {}): TrainSettings {
  const { method, objective } = own
  const schema = method ? z.strictObject({ ...method.options, ...TrainSchema.shape }) : TrainSchema
  const options: TrainSettings = parseOptions(schema, { ...input, ...(objective && recordOf(objective, input)) })
  // A program that resumes only sometimes gives both in any case.
  if (input.resume === false) options.allowChanges = undefined
  if (method) options.method = method.name as Method
  if (objective) options.objective = objective.name as ObjectiveName
  requireOptions(TrainSchema, options)
  if (typeof options.resume === 'string') options.output ??= runFolderOf(options.resume)
  checkTrainOptions(options)
  if (own.learningRate) requireNoSchedule({ ...input, headLearningRate: options.headLearningRate })
  return options
}

/**
 * Returns the options of a built-in objective, which have the names of the run's; nothing for a custom objective.
 * @throws UsageError for an option given beside the objective, or a custom objective with the name of a built-in one
 */
function recordOf({ name, options }: Objective, input: TrainInput): Objective['options'] {
  const builtIn = objectiveNamed(name)
  if (!builtIn) return undefined
  if (!options) throw new UsageError('bad-value', `There is an objective ${name} already; give yours another name.`)
  const given: Readonly<Record<string, unknown>> = { ...input }
  const beside = Object.keys(builtIn.schema.shape).find((option) => given[option] !== undefined)
  if (beside === undefined) return options
  throw new UsageError(
    'unfit-options',
    `${TheOption(beside)} belongs to the objective, which is given with its options: give it to ${name}({ ${beside} }), or name the objective ('${name}').`,
  )
}

/** Refuses a schedule beside a function that computes the learning rate. */
function requireNoSchedule(input: TrainInput): void {
  const name = [...scheduleNames, 'headLearningRate' as const].find((name) => input[name] !== undefined)
  if (name === undefined) return
  throw new UsageError(
    'unfit-options',
    `${TheOption(name)} does not go with a function as ${optionName('learningRate')}, which says the rate of every step: leave one of them out.`,
  )
}

/** Throws a `UsageError` for options of a run that exclude each other, or that lack an option that they need. */
export function checkTrainOptions(options: TrainSettings, source: OptionSource = 'api'): void {
  const { method } = newAdapterOptions(options)
  const isFull = method === 'full'
  const { microBatchSize, batchSize } = options
  checkLoadedForm(options)
  exclude(options, 'init', 'quantise', 'random weights are trained in full')
  exclude(options, 'init', 'adapter', 'an adapter belongs to the weights that it was trained on')
  exclude(options, 'resume', 'overwrite', 'one continues the run, the other replaces it')
  exclude(options, 'warmupSteps', 'warmupRatio', 'give only one of them')
  exclude(options, 'deterministic', 'allowChanges', 'a change gives the run other bits')
  requireOneReader(TrainSchema, options)
  refuse(
    options.compute === 'int8' && isFull,
    `${optionName('compute')} int8 does not go with method full: only frozen weights are multiplied in 8 bits.`,
  )

  exclude(options, 'shard', 'init', 'only weights from a file can be sharded')
  exclude(options, 'shard', 'mergeEvery', 'adapters cannot be merged into sharded weights')
  exclude(options, 'shard', 'samplePrompt', 'one rank alone cannot generate with a shard of the weights')
  refuse(
    options.shard !== undefined && isFull,
    `${optionName('shard')} does not go with method full: only frozen weights are sharded.`,
  )

  // Other options of an adapter file are compared with the file when it is read.
  if (options.adapter === undefined) checkNewAdapterOptions(options)
  refuse(
    options.adapter !== undefined && options.method === 'full',
    `${optionName('adapter')} does not go with ${optionName('method')} full: full training has no adapter.`,
  )
  requireNeeded(TrainSchema, options)
  checkRestarts(options)
  checkObjective(options, source)
  exclude(options, 'emaDecay', 'mergeEvery', 'the average is of one adapter, and merging begins another')
  refuse(
    options.emaDecay !== undefined && isFull,
    `${optionName('emaDecay')} does not go with method full: the average is an adapter of its own.`,
  )
  refuse(
    microBatchSize !== undefined && microBatchSize > batchSize,
    `${optionName('microBatchSize')} ${microBatchSize} is more than the ${batchSize} rows of a step (${optionName('batchSize')}).`,
  )
}

function checkRestarts(options: TrainSettings): void {
  const { mergeEvery, cycle, operator, restartWarmupSteps } = options
  const { scheduler } = scheduleOptions(options)
  refuse(
    cycle !== undefined && operator !== undefined && !cycle.includes(operator),
    `${optionName('operator')} ${operator} is not among the operators of ${optionName('cycle')} (${cycle?.join(', ')}).`,
  )
  refuse(
    scheduler === 'cosine-restarts' && mergeEvery === undefined,
    `${optionName('scheduler')} cosine-restarts needs a period: set ${optionName('mergeEvery')}, or use cosine.`,
  )
  refuse(
    scheduler !== 'cosine-restarts' && restartWarmupSteps !== undefined,
    `${optionName('restartWarmupSteps')} does not go with ${optionName('scheduler')} ${scheduler}: it is an option of cosine-restarts.`,
  )
}

/** Refuses options of other objectives, and combinations that leave an objective without its reference. */
function checkObjective(options: TrainSettings, source: OptionSource): void {
  const { objective } = options
  const builtIn = objectiveNamed(objective)
  if (builtIn?.needsReference?.(options)) {
    const why = 'the reference of the objective is the model without the adapter'
    const what = `does not go with ${optionName('objective')} ${objective}`
    const kept = 'precomputeReference'
    const canKeep = optionFacts(TrainSchema.shape[kept]).objectives?.includes(objective)
    const way = canKeep ? `; ${optionName(kept)} computes it before the first step` : ''
    if (!options[kept]) {
      refuse(newAdapterOptions(options).method === 'full', `${optionName('method')} full ${what}: ${why}${way}.`)
      const changed = `${optionName('mergeEvery')} ${what}: ${why}, and merging changes it${way}.`
      refuse(options.mergeEvery !== undefined, changed)
    }
    refuse(options.shard !== undefined, `${optionName('shard')} ${what}: ${why}, whose passes are not sharded.`)
  }
  for (const key of builtIn?.needs ?? []) {
    const isLeftOut = source !== 'api' && (options as Readonly<Record<string, unknown>>)[key] === undefined
    refuse(isLeftOut, `${optionName('objective')} ${objective} needs ${optionName(key)}.`)
  }
  for (const [key, option] of Object.entries(TrainSchema.shape)) {
    const { objectives } = optionFacts(option)
    refuse(
      objectives !== undefined && isGiven(options, key) && !objectives.includes(objective),
      `${optionName(key)} does not go with objective ${objective}: it is an option of ${objectives?.join(' and ')}.`,
    )
  }
}
