import { z } from 'zod'
import {
  aNumber,
  anObject,
  aText,
  check,
  expecting,
  listOfTexts,
  optionsSchema,
  wholeFrom,
} from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { TheOption } from '../common/option-names.js'
import type { AdapterConfigBase } from './contract/adapter.js'
import { sharedFields } from './contract/adapter-config.js'
import { adapterMethod } from './registry.js'

/** Returns the configuration that options of `train` describe, without options that its method lacks. */
export function newAdapterConfig(name: string, options: object): AdapterConfigBase {
  const method = adapterMethod(name)
  const known: object = { ...sharedFields, ...method.options }
  return method.config(Object.fromEntries(Object.entries(options).filter(([key]) => Object.hasOwn(known, key))))
}

const namedConfig = { config: optionsSchema('the configuration of an adapter', { method: aText }) }
const wholeConfig = {
  config: optionsSchema('the configuration of an adapter', {
    rank: wholeFrom(1),
    dropout: aNumber,
    rankPattern: anObject,
    modulesToSave: listOfTexts,
    targetModules: z.union([aText, listOfTexts, expecting('a regular expression', z.instanceof(RegExp))]),
  }),
}

/**
 * Completes the configuration of an adapter from its method and some of its options.
 * @throws UsageError for an unknown method, and for options that are wrong or belong to another method
 */
export function completeConfig(config: AdapterConfigBase): AdapterConfigBase {
  check({ config }, namedConfig)
  const complete = adapterMethod(config.method).config(config)
  check({ config: complete }, wholeConfig)
  return complete
}

/**
 * Returns the configuration with which another method, given with its own options, trains an adapter further: the adapter's, and
 * the options that only the method has.
 * @throws UsageError `unfit-options` unless it computes the same from the adapter's files
 */
export function continuedBy(
  { method: name, ...own }: { readonly method: string; readonly [option: string]: unknown },
  config: AdapterConfigBase,
  folder: string,
): AdapterConfigBase {
  if (name === config.method) return config
  const method = adapterMethod(name)
  if (method.continues?.includes(config.method)) return method.config({ ...own, ...config })
  throw new UsageError(
    'unfit-options',
    `${TheOption('method')} is ${name}, but the adapter ${folder} has ${config.method}: leave the option out, or start a new adapter.`,
  )
}
