/** Checks of combinations of options. */

import { isDeepStrictEqual } from 'node:util'
import type { z } from 'zod'
import { UsageError } from '../common/errors.js'
import { type DataSource, pathsOf } from '../data/sources/source.js'
import { objectiveNamed } from '../objectives/index.js'
import { type OptionSource, optionName } from '../schema/names.js'
import { type OptionsSchema, optionDefault, optionFacts } from '../schema/option-facts.js'
import { AnalyzeSchema } from './analyze.js'
import { newAdapterOptions, scheduleOptions } from './defaults.js'
import { CHOICE_TASKS, type EvalOptions, EvalSchema, type Task, TEXT_TASKS, writingOptions } from './eval.js'
import { methodsWithOption, newAdapterFields, restartFields } from './new-adapter.js'
import { TrainSchema, type TrainSettings } from './train.js'

/** Throws a `UsageError` that names the required options that were left out. */
export function requireOptions(
  { shape }: OptionsSchema,
  options: Readonly<Record<string, unknown>>,
  source: OptionSource,
): void {
  const missing = Object.keys(shape).filter((key) => {
    const { required, unless } = optionFacts(shape[key]!)
    if (options[key] !== undefined || required === undefined || (unless && options[unless] !== undefined)) return false
    return required === 'everywhere' || source !== 'api'
  })
  if (missing.length === 0) return
  const list = missing.map((key) => optionName(key, source)).join(', ')
  throw new UsageError('missing-option', `Missing ${list}; ${missing.length === 1 ? 'it is' : 'they are'} required.`)
}

/** Throws errors about options that exclude each other, spelled as in the user's source. */
class Fit {
  constructor(readonly source: OptionSource) {}

  name(key: string): string {
    return optionName(key, this.source)
  }

  refuse(unfit: boolean, message: string): void {
    if (unfit) throw new UsageError('unfit-options', message)
  }

  /** Refuses two options given together. */
  exclude(options: object, first: string, second: string, why: string): void {
    this.refuse(
      isGiven(options, first) && isGiven(options, second),
      `${this.name(first)} does not go with ${this.name(second)}: ${why}.`,
    )
  }
}

function isGiven(options: object, key: string): boolean {
  const value = (options as Record<string, unknown>)[key]
  return value !== undefined && value !== false && value !== 0
}

/** Throws a `UsageError` for options of loading that exclude each other. */
export function checkLoadedForm(
  { quantise, quantised }: { quantise?: string; quantised?: boolean },
  source: OptionSource,
): void {
  const fit = new Fit(source)
  fit.refuse(
    quantise !== undefined && quantised === false,
    `${fit.name('quantise')} ${quantise} does not go with ${fit.name('quantised')} turned off: quantised weights stay quantised.`,
  )
}

/** Throws a `UsageError` for options of training that exclude each other. */
export function checkTrainOptions(options: TrainSettings, source: OptionSource): void {
  checkLoadedForm(options, source)
  const fit = new Fit(source)
  fit.exclude(options, 'init', 'quantise', 'random weights are trained in full')
  fit.exclude(options, 'init', 'adapter', 'an adapter belongs to the weights that it was trained on')
  fit.exclude(options, 'resume', 'overwrite', 'one continues the run, the other replaces it')
  fit.exclude(options, 'warmupSteps', 'warmupRatio', 'give only one of them')
  fit.exclude(options, 'deterministic', 'allowChanges', 'a change gives the run other bits')
  requireOneReader(fit, TrainSchema, options)
  fit.refuse(
    options.compute === 'int8' && newAdapterOptions(options).method === 'full',
    `${fit.name('compute')} int8 does not go with method full: only frozen weights are multiplied in 8 bits.`,
  )
  checkShard(fit, options)
  checkAdapterOptions(fit, options)
  requireNeeded(fit, TrainSchema, options)
  checkRestarts(fit, options)
  checkObjective(fit, options)
  fit.exclude(options, 'emaDecay', 'mergeEvery', 'the average is of one adapter, and merging begins another')
  fit.refuse(
    options.emaDecay !== undefined && newAdapterOptions(options).method === 'full',
    `${fit.name('emaDecay')} does not go with method full: the average is an adapter of its own.`,
  )
  fit.refuse(
    options.microBatchSize !== undefined && options.microBatchSize > options.batchSize,
    `${fit.name('microBatchSize')} ${options.microBatchSize} is more than the ${options.batchSize} rows of a step (${fit.name('batchSize')}).`,
  )
}

/** Refuses options that sharding excludes: shards are frozen, and all ranks must take part in each pass. */
function checkShard(fit: Fit, options: TrainSettings): void {
  fit.exclude(options, 'shard', 'init', 'only weights from a file can be sharded')
  fit.exclude(options, 'shard', 'mergeEvery', 'adapters cannot be merged into sharded weights')
  fit.exclude(options, 'shard', 'samplePrompt', 'one rank alone cannot generate with a shard of the weights')
  fit.refuse(
    options.shard !== undefined && newAdapterOptions(options).method === 'full',
    `${fit.name('shard')} does not go with method full: only frozen weights are sharded.`,
  )
}

/** Refuses options of other objectives, and combinations that leave an objective without its reference. */
function checkObjective(fit: Fit, options: TrainSettings): void {
  if (objectiveNamed(options.objective)?.needsReference?.(options)) {
    const why = 'the reference of the objective is the model without the adapter'
    const what = `does not go with ${fit.name('objective')} ${options.objective}`
    const kept = 'precomputeReference'
    const canKeep = optionFacts(TrainSchema.shape[kept]).objectives?.includes(options.objective)
    const way = canKeep ? `; ${fit.name(kept)} computes it before the first step` : ''
    if (!options[kept]) {
      fit.refuse(newAdapterOptions(options).method === 'full', `${fit.name('method')} full ${what}: ${why}${way}.`)
      const changed = `${fit.name('mergeEvery')} ${what}: ${why}, and merging changes it${way}.`
      fit.refuse(options.mergeEvery !== undefined, changed)
    }
    fit.refuse(options.shard !== undefined, `${fit.name('shard')} ${what}: ${why}, whose passes are not sharded.`)
  }
  for (const key of objectiveNamed(options.objective)?.needs ?? []) {
    const isLeftOut = fit.source !== 'api' && (options as Readonly<Record<string, unknown>>)[key] === undefined
    fit.refuse(isLeftOut, `${fit.name('objective')} ${options.objective} needs ${fit.name(key)}.`)
  }
  for (const [key, option] of Object.entries(TrainSchema.shape)) {
    const { objectives } = optionFacts(option)
    fit.refuse(
      objectives !== undefined && isGiven(options, key) && !objectives.includes(options.objective),
      `${fit.name(key)} does not go with objective ${options.objective}: it is an option of ${objectives?.join(' and ')}.`,
    )
  }
}

/** Refuses options without the options that they need. */
function requireNeeded(fit: Fit, { shape }: OptionsSchema, options: object): void {
  for (const [key, option] of Object.entries(shape)) {
    if (!isGiven(options, key)) continue
    for (const needed of optionFacts(option).needs ?? [])
      fit.refuse(!isGiven(options, needed), `${fit.name(key)} needs ${fit.name(needed)}.`)
  }
}

/** Refuses several options that read standard input, which can be read only once. */
function requireOneReader(fit: Fit, { shape }: OptionsSchema, options: object): void {
  const keys = Object.keys(shape).filter((key) => optionFacts(shape[key]!).hub?.endsWith('-data'))
  const paths = keys.flatMap((key) => pathsOf((options as Readonly<Record<string, DataSource[] | undefined>>)[key]))
  fit.refuse(
    paths.filter((path) => path === '-').length > 1,
    `Standard input (-) can be read only once, but ${keys.map((key) => fit.name(key)).join(' and ')} name it more often.`,
  )
}

function checkAdapterOptions(fit: Fit, options: TrainSettings): void {
  // With an adapter file, options are compared with the file when it is read.
  if (options.adapter !== undefined) {
    fit.refuse(
      options.method === 'full',
      `${fit.name('adapter')} does not go with ${fit.name('method')} full: full training has no adapter.`,
    )
    return
  }
  checkNewAdapterOptions(options, fit.source)
}

const { method: _, ...ofSomeMethods } = { ...newAdapterFields, ...restartFields }

/** Throws a `UsageError` for options of a new adapter that its method does not have. */
export function checkNewAdapterOptions(options: Partial<TrainSettings>, source: OptionSource): void {
  const fit = new Fit(source)
  const { method } = newAdapterOptions(options)
  fit.exclude(options, 'rank', 'matchParametersOf', 'one sets the rank, the other chooses it')
  for (const key of Object.keys(ofSomeMethods)) {
    const methods = methodsWithOption(key)
    fit.refuse(
      (options as Record<string, unknown>)[key] !== undefined && !methods.includes(method),
      `${fit.name(key)} does not go with method ${method}: it is an option of ${methods.join(' and ')}.`,
    )
  }
}

function checkRestarts(fit: Fit, options: TrainSettings): void {
  const { mergeEvery, cycle, operator } = options
  fit.refuse(
    cycle !== undefined && operator !== undefined && !cycle.includes(operator),
    `${fit.name('operator')} ${operator} is not among the operators of ${fit.name('cycle')} (${cycle?.join(', ')}).`,
  )
  const { scheduler } = scheduleOptions(options)
  fit.refuse(
    scheduler === 'cosine-restarts' && mergeEvery === undefined,
    `${fit.name('scheduler')} cosine-restarts needs a period: set ${fit.name('mergeEvery')}, or use cosine.`,
  )
  fit.refuse(
    scheduler !== 'cosine-restarts' && options.restartWarmupSteps !== undefined,
    `${fit.name('restartWarmupSteps')} does not go with ${fit.name('scheduler')} ${scheduler}: it is an option of cosine-restarts.`,
  )
}

/** Throws a `UsageError` unless options of `analyze` name an adapter, or a model before. */
export function checkAnalyzeOptions(options: z.output<typeof AnalyzeSchema>, source: OptionSource): void {
  const fit = new Fit(source)
  const [adapter, base] = [fit.name('adapter'), fit.name('base')]
  if (options.adapter === undefined && options.base === undefined)
    throw new UsageError(
      'missing-option',
      `Missing ${adapter} or ${base}: what changed the model, or the model before.`,
    )
  fit.exclude(options, 'base', 'adapter', 'merge the adapter to compare the result with another model')
  fit.exclude(options, 'base', 'allowOtherBase', 'only adapters belong to a base')
  requireNeeded(fit, AnalyzeSchema, options)
}

/** Throws a `UsageError` for options of evaluation that belong to another task. */
export function checkEvalOptions(
  options: Omit<EvalOptions, 'base' | 'scorer'> & { base?: unknown; scorer?: unknown },
  source: OptionSource,
): void {
  const fit = new Fit(source)
  const onlyOf = (key: string, ...tasks: readonly Task[]) =>
    fit.refuse(
      isGiven(options, key) && !tasks.includes(options.task!),
      `${fit.name(key)} belongs to the task ${tasks.join(' or ')}, not to ${options.task}.`,
    )
  requireOneReader(fit, EvalSchema, options)
  onlyOf('text', 'perplexity', 'logprobs', 'forgetting', 'change')
  onlyOf('window', 'perplexity', 'forgetting', 'change')
  onlyOf('stride', 'perplexity', 'forgetting', 'change')
  onlyOf('base', 'forgetting', 'change')
  const asking = [...TEXT_TASKS, ...CHOICE_TASKS]
  onlyOf('shots', ...asking)
  onlyOf('shotsData', ...asking)
  onlyOf('details', ...asking)
  onlyOf('predictions', ...TEXT_TASKS)
  onlyOf('scorer', 'generate')
  for (const [key, option] of Object.entries(writingOptions)) {
    const isDefault = isDeepStrictEqual(options[key as keyof typeof writingOptions], optionDefault(option))
    if (!isDefault) onlyOf(key, ...TEXT_TASKS)
    fit.refuse(
      !isDefault && options.predictions !== undefined,
      `${fit.name(key)} does not go with ${fit.name('predictions')}, whose texts are written already.`,
    )
  }
  if (options.task === 'generate' && options.scorer === undefined) {
    const name = source === 'api' ? 'score' : fit.name('scorer')
    throw new UsageError('missing-option', `Missing ${name}: the task generate needs a function that scores a text.`)
  }
  requireNeeded(fit, EvalSchema, options)
  fit.refuse(
    options.window !== undefined && options.stride !== undefined && options.stride > options.window,
    `${fit.name('stride')} ${options.stride} must not be more than ${fit.name('window')} ${options.window}.`,
  )
}
