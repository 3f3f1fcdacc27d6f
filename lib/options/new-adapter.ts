/** Options that describe a new adapter, for training and for counting its parameters. */
import type { AdapterMethod, OptionFields } from '../adapters/contract/adapter.js'
import { newAdapterGroup as group, sharedFields } from '../adapters/contract/adapter-config.js'
import OWN_METHODS from '../adapters/own-methods.js'
import {
  ADAPTER_METHODS,
  type AdapterMethodName,
  adapterMethod,
  allMethods,
  restartingMethods,
} from '../adapters/registry.js'
import { optionalChoice, optionalInteger, optionalPattern } from '../schema/option.js'
import { declare, optionFacts } from '../schema/option-facts.js'

const [first, ...others] = ADAPTER_METHODS
export const METHODS = [first!, ...others, 'full'] as const
export type Method = (typeof METHODS)[number]

type EveryOf<Union> = (Union extends unknown ? (one: Union) => void : never) extends (all: infer All) => void
  ? All
  : never
type OwnMethod = (typeof OWN_METHODS)[number]
type RestartFieldsOf<Of extends OwnMethod> = Named<NonNullable<Of['restart']>['options']>
/** Fields whose type names them: a method without options of restarts has the type of any. */
type Named<Fields> = Fields extends OptionFields ? (string extends keyof Fields ? never : Fields) : never

/** Options of single methods, and of their restarts; options of the same name are the same option. */
const methodFields = Object.assign({}, ...OWN_METHODS.map(({ options }) => options)) as EveryOf<OwnMethod['options']>
const restartFieldsOfMethods = Object.assign({}, ...OWN_METHODS.map(({ restart }) => restart?.options)) as EveryOf<
  RestartFieldsOf<OwnMethod>
>

const { rank, ...sharedButRank } = sharedFields

/** Returns the description of `rank`, with the methods for which the rank is not a budget. */
function rankDescription(): string {
  const names = new Map<string, string[]>()
  for (const { name, rankMeaning } of OWN_METHODS) {
    if (rankMeaning) names.set(rankMeaning, [...(names.get(rankMeaning) ?? []), name])
  }
  const exceptions = [...names].map(
    ([meaning, of]) => `for ${of.join(', ').replace(/, ([^,]*)$/, ' and $1')} ${meaning}`,
  )
  return [optionFacts(rank).description, exceptions.join(', ')].join('; ')
}

/**
 * Options that describe a new adapter, and the choice of its rank. They have no default in the schema, since with `adapter` they
 * come from a file: `newAdapterOptions` in defaults.ts fills them in for a new one.
 */
export const newAdapterFields = {
  method: optionalChoice('how to train: an adapter of this kind, or full for every weight', METHODS, {
    defaultText: 'mora; full with --init',
    group,
  }),
  rank: declare(rank.clone(), { ...optionFacts(rank), description: rankDescription() }),
  matchParametersOf: optionalPattern(
    'choose the rank with the number of parameters closest to METHOD at RANK',
    'METHOD:RANK',
    /^[a-z-]+:[1-9]\d*$/,
    { expects: 'a method and a rank, as lora:8', group },
  ),
  ...methodFields,
  ...sharedButRank,
}

/** Options that describe any adapter; `matchParametersOf` only chooses the rank of a new one. */
const { matchParametersOf: _, ...described } = newAdapterFields
export type DescribedField = keyof typeof described
export const describedFields = Object.keys(described) as DescribedField[]

/** The options of a method that other methods lack. */
export type OptionOfMethod<Name extends Method = Method> = Name extends AdapterMethodName
  ? keyof EveryOf<FieldsOf<Extract<OwnMethod, { name: Name }>>>
  : never
type FieldsOf<Of extends OwnMethod> = Of['options'] | RestartFieldsOf<Of>

/** Returns the options that describe an adapter of a method; a method registered by the user adds its own. */
export function describedFieldsOf(method: string): readonly string[] {
  if (METHODS.some((name) => name === method)) return describedFields
  return [...describedFields, ...Object.keys(adapterMethod(method).options)]
}

/** Options for merging the adapter during a run and restarting it. */
export const restartFields = {
  mergeEvery: optionalInteger('merge the adapter every N steps and start it again: ReMoRA; ReLoRA with lora', {
    min: 1,
    defaultText: 'never',
    group,
  }),
  ...restartFieldsOfMethods,
}
export const restartOptions = Object.keys(restartFields) as (keyof typeof restartFields)[]

/** Returns the methods that have an option of adapters or restarts; most methods have the shared options. */
export function methodsWithOption(key: string): readonly string[] {
  if (Object.hasOwn(restartFields, key)) return restartingMethods(key)
  const isOwn = Object.hasOwn(methodFields, key)
  const takes = ({ options, lacks = [] }: AdapterMethod) =>
    isOwn ? Object.hasOwn(options, key) : !lacks.some((one) => one === key)
  return allMethods().flatMap((method) => (takes(method) ? [method.name] : []))
}
