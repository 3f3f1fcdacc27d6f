/** Options that say what a new adapter is: of training, and of counting its parameters before that. */
import { newAdapterGroup as group, sharedFields } from '../adapters/contract/adapter-config.js'
import { ADAPTER_METHODS, type AdapterMethodName, OWN_METHODS } from '../adapters/registry.js'
import { optionalChoice, optionalPattern } from '../schema/option.js'

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
 * They have no default in the schema, since with `adapter` they come from a file: `newAdapterOptions` in defaults.ts fills
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

/** Names of the options that an adapter's method takes, and with which other methods they do not go. */
export function methodsTaking(key: string): readonly AdapterMethodName[] {
  const methods = OWN_METHODS.filter(
    ({ options, lacks = [] }: (typeof OWN_METHODS)[number] & { lacks?: readonly string[] }) =>
      Object.hasOwn(options, key) || (Object.hasOwn(sharedFields, key) && !lacks.includes(key)),
  )
  return methods.map(({ name }) => name)
}
