/** Options that say what a new adapter is: of training, and of counting its parameters before that. */
import type { AdapterMethod } from '../adapters/contract/adapter.js'
import { newAdapterGroup as group, sharedFields } from '../adapters/contract/adapter-config.js'
import { moraRestartFields } from '../adapters/methods/mora.js'
import OWN_METHODS from '../adapters/own-methods.js'
import { ADAPTER_METHODS, adapterMethod, allMethods, restartingMethods } from '../adapters/registry.js'
import { optionalChoice, optionalInteger, optionalPattern } from '../schema/option.js'

const [first, ...others] = ADAPTER_METHODS
export const METHODS = [first!, ...others, 'full'] as const
export type Method = (typeof METHODS)[number]

type EveryOf<Union> = (Union extends unknown ? (one: Union) => void : never) extends (all: infer All) => void
  ? All
  : never
type MethodFields = EveryOf<(typeof OWN_METHODS)[number]['options']>

/** Options of single methods; those of one name are the same option. */
const methodFields = Object.assign({}, ...OWN_METHODS.map(({ options }) => options)) as MethodFields

const { rank, ...sharedButRank } = sharedFields

/**
 * What a new adapter is, and what its rank is chosen by. They have no default in the schema, since with `adapter` they come from a file: `newAdapterOptions` in defaults.ts fills
 * them in for a new one.
 */
export const newAdapterFields = {
  method: optionalChoice('how to train: an adapter of this kind, or full for every weight', METHODS, {
    defaultText: 'mora; full with --init',
    group,
  }),
  rank,
  matchParametersOf: optionalPattern(
    'choose the rank whose parameters come closest to those of this method and rank',
    'METHOD:RANK',
    /^[a-z-]+:[1-9]\d*$/,
    { expects: 'a method and a rank, as lora:8', group },
  ),
  ...methodFields,
  ...sharedButRank,
}

/** What an adapter is, new or not: a budget only chooses the rank. */
const { matchParametersOf: _, ...described } = newAdapterFields
export type DescribedField = keyof typeof described
export const describedFields = Object.keys(described) as DescribedField[]

/** Options that say what an adapter of a method is; one from outside of the library adds its own. */
export function describedFieldsOf(method: string): readonly string[] {
  if (METHODS.some((name) => name === method)) return describedFields
  return [...describedFields, ...Object.keys(adapterMethod(method).options)]
}

/** When a run merges its adapter and starts it again, and how. */
export const restartFields = {
  mergeEvery: optionalInteger('merge the adapter every N steps and start it again: ReMoRA; ReLoRA with lora', {
    min: 1,
    defaultText: 'never',
    group,
  }),
  ...moraRestartFields,
}
export const restartOptions = Object.keys(restartFields) as (keyof typeof restartFields)[]

/** Names of the methods that take an option of an adapter or of its restarts: all take what is no method's own. */
export function methodsTaking(key: string): readonly string[] {
  if (Object.hasOwn(restartFields, key)) return restartingMethods(key)
  const isOwn = Object.hasOwn(methodFields, key)
  const takes = ({ options, lacks = [] }: AdapterMethod) =>
    isOwn ? Object.hasOwn(options, key) : !lacks.some((one) => one === key)
  return allMethods().flatMap((method) => (takes(method) ? [method.name] : []))
}
