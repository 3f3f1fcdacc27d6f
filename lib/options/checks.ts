/** Checks of combinations of options; options of a run are checked in train/setup/resolve-options.ts. */

import { isDeepStrictEqual } from 'node:util'
import type { z } from 'zod'
import { quoted, UsageError } from '../common/errors.js'
import { currentVoice, optionName, theOption } from '../common/option-names.js'
import { type DataSource, pathsOf } from '../rows/sources/source.js'
import { TEXT_TEMPLATE } from '../rows/text-template.js'
import { type OptionSource, optionPlace } from '../schema/names.js'
import { type OptionsSchema, optionDefault, optionFacts } from '../schema/option-facts.js'
import { ANSWER_TASKS, CHOICE_TASKS } from '../tasks/index.js'
import { AnalyzeSchema } from './analyze.js'
import { newAdapterOptions } from './defaults.js'
import { type EvalOptions, EvalSchema, type Task, writingOptions } from './eval.js'
import { methodsWithOption, newAdapterFields, restartFields } from './new-adapter.js'
import type { TrainSettings } from './train.js'

/** Throws a `UsageError` that names the required options that were left out. */
export function requireOptions(
  { shape }: OptionsSchema,
  options: Readonly<Record<string, unknown>>,
  source: OptionSource = 'api',
): void {
  const missing = Object.keys(shape).filter((key) => {
    const { required, unless } = optionFacts(shape[key]!)
    if (options[key] !== undefined || required === undefined || (unless && options[unless] !== undefined)) return false
    return required === 'everywhere' || source !== 'api'
  })
  if (missing.length === 0) return
  const list = missing.map((key) => optionPlace(key, source)).join(', ')
  throw new UsageError('missing-option', `Missing ${list}; ${missing.length === 1 ? 'it is' : 'they are'} required.`)
}

/** Throws a `UsageError` with a message about options that do not fit together. */
export function refuse(unfit: boolean, message: string): void {
  if (unfit) throw new UsageError('unfit-options', message)
}

/** Refuses two options given together. */
export function exclude(options: object, first: string, second: string, why: string): void {
  const areGiven = isGiven(options, first) && isGiven(options, second)
  refuse(areGiven, `${optionName(first)} does not go with ${optionName(second)}: ${why}.`)
}

/** Whether an option is given, and not as `false` or 0. */
export function isGiven(options: object, key: string): boolean {
  const value = (options as Record<string, unknown>)[key]
  return value !== undefined && value !== false && value !== 0
}

/** Refuses options without the options that they need. */
export function requireNeeded({ shape }: OptionsSchema, options: object): void {
  for (const [key, option] of Object.entries(shape)) {
    if (!isGiven(options, key)) continue
    for (const needed of optionFacts(option).needs ?? [])
      refuse(!isGiven(options, needed), `${optionName(key)} needs ${optionName(needed)}.`)
  }
}

/** Refuses several options that read standard input, which can be read only once. */
export function requireOneReader({ shape }: OptionsSchema, options: object): void {
  const keys = Object.keys(shape).filter((key) => optionFacts(shape[key]!).hub?.endsWith('-data'))
  const paths = keys.flatMap((key) => pathsOf((options as Readonly<Record<string, DataSource[] | undefined>>)[key]))
  refuse(
    paths.filter((path) => path === '-').length > 1,
    `Standard input (-) can be read only once, but ${keys.map((key) => optionName(key)).join(' and ')} name it more often.`,
  )
}

const { method: _, ...ofSomeMethods } = { ...newAdapterFields, ...restartFields }

/** Throws a `UsageError` for options of a new adapter that its method does not have. */
export function checkNewAdapterOptions(options: Partial<TrainSettings>): void {
  const { method } = newAdapterOptions(options)
  exclude(options, 'rank', 'matchParametersOf', 'one sets the rank, the other chooses it')
  for (const key of Object.keys(ofSomeMethods)) {
    const methods = methodsWithOption(key)
    refuse(
      (options as Record<string, unknown>)[key] !== undefined && !methods.includes(method),
      `${optionName(key)} does not go with method ${method}: it is an option of ${methods.join(' and ')}.`,
    )
  }
}

/** Throws a `UsageError` unless options of `analyze` name an adapter, or a model before. */
export function checkAnalyzeOptions(options: z.output<typeof AnalyzeSchema>): void {
  const [adapter, base] = [optionName('adapter'), optionName('base')]
  if (options.adapter === undefined && options.base === undefined)
    throw new UsageError(
      'missing-option',
      `Missing ${adapter} or ${base}: give the adapter, or the model before training.`,
    )
  exclude(options, 'base', 'adapter', 'merge the adapter to compare the result with another model')
  exclude(options, 'base', 'allowOtherBase', 'only adapters belong to a base')
  requireNeeded(AnalyzeSchema, options)
}

/** Throws a `UsageError` unless `text` has columns in braces or, for the task forgetting, names the file to read. */
function requireTextOrFile({ task, text, data }: Pick<EvalOptions, 'task' | 'text' | 'data'>): void {
  if (text === undefined) return
  const isTemplate = TEXT_TEMPLATE.test(text)
  if (isTemplate && data === undefined)
    throw new UsageError('missing-option', `Missing ${optionName('data')}; it is required.`)
  if (isTemplate || (task === 'forgetting' && data === undefined)) return
  throw new UsageError(
    'bad-value',
    `Expected a text with columns in braces, such as {question}, for ${optionName('text')} but received ${quoted(text)}; ${theOption('data')} names a file to read.`,
  )
}

/** Throws a `UsageError` for options of evaluation that belong to another task. */
export function checkEvalOptions(
  options: Omit<EvalOptions, 'base' | 'scorer'> & { base?: unknown; scorer?: unknown },
): void {
  const onlyOf = (key: string, ...tasks: readonly Task[]) =>
    refuse(
      isGiven(options, key) && !tasks.includes(options.task!),
      `${optionName(key)} belongs to the task ${tasks.join(' or ')}, not to ${options.task}.`,
    )
  requireOneReader(EvalSchema, options)
  onlyOf('text', 'perplexity', 'logprobs', 'forgetting', 'change')
  onlyOf('window', 'perplexity', 'forgetting', 'change')
  onlyOf('stride', 'perplexity', 'forgetting', 'change')
  onlyOf('base', 'forgetting', 'change')
  const asking = [...ANSWER_TASKS, ...CHOICE_TASKS]
  onlyOf('shots', ...asking)
  onlyOf('shotsData', ...asking)
  onlyOf('details', ...asking)
  onlyOf('predictions', ...ANSWER_TASKS)
  onlyOf('scorer', 'generate')
  for (const [key, option] of Object.entries(writingOptions)) {
    const isDefault = isDeepStrictEqual(options[key as keyof typeof writingOptions], optionDefault(option))
    if (!isDefault) onlyOf(key, ...ANSWER_TASKS)
    refuse(
      !isDefault && options.predictions !== undefined,
      `${optionName(key)} does not go with ${optionName('predictions')}, whose texts are written already.`,
    )
  }
  if (options.task === 'generate' && options.scorer === undefined) {
    const name = currentVoice() === 'library' ? 'score' : optionName('scorer')
    throw new UsageError('missing-option', `Missing ${name}: the task generate needs a function that scores a text.`)
  }
  requireNeeded(EvalSchema, options)
  refuse(
    options.window !== undefined && options.stride !== undefined && options.stride > options.window,
    `${optionName('stride')} ${options.stride} must not be more than ${optionName('window')} ${options.window}.`,
  )
  requireTextOrFile(options)
}
