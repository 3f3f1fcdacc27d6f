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
