import {
  aNumber,
  anObject,
  aText,
  either,
  instanceOf,
  requireOptionsOf,
  texts,
  wholeFrom,
} from '../common/arguments.js'
import type { AdapterConfigBase } from './contract/adapter.js'
import { sharedFields } from './contract/adapter-config.js'
import { adapterMethod } from './registry.js'

/** The configuration that options of `train` describe, without those that its method does not have. */
export function newAdapterConfig(name: string, options: object): AdapterConfigBase {
  const method = adapterMethod(name)
  const known: object = { ...sharedFields, ...method.options }
  return method.config(Object.fromEntries(Object.entries(options).filter(([key]) => Object.hasOwn(known, key))))
}

/**
 * The whole configuration of an adapter that is described by its method and some of its options.
 * @throws UsageError for an unknown method, and for options that are wrong or those of another method
 */
export function completeConfig(config: AdapterConfigBase): AdapterConfigBase {
  requireOptionsOf('the configuration of an adapter', config, { method: aText })
  const complete = adapterMethod(config.method).config(config)
  requireOptionsOf('the configuration of an adapter', complete, {
    rank: wholeFrom(1),
    dropout: aNumber,
    rankPattern: anObject,
    modulesToSave: texts,
    targetModules: either(aText, texts, instanceOf(RegExp, 'a regular expression')),
  })
  return complete
}
