import { aNumber, anObject, aText, either, instanceOf, requireOptionsOf, texts, wholeFrom } from '../arguments.js'
import type { AdapterMethodName, NewAdapterOptions } from '../options/index.js'
import type { AdapterConfigBase } from './adapter.js'
import { asylora } from './asylora.js'
import { dora } from './dora.js'
import { hira } from './hira.js'
import { lora } from './lora.js'
import { loraFa } from './lora-fa.js'
import { loraPlus } from './lora-plus.js'
import { miss } from './miss.js'
import { mora } from './mora.js'
import { pissa } from './pissa.js'
import { adapterMethod } from './registry.js'
import { rslora } from './rslora.js'

const functions: Record<AdapterMethodName, (options: Partial<NewAdapterOptions>) => AdapterConfigBase> = {
  mora,
  lora,
  rslora,
  'lora-plus': loraPlus,
  asylora,
  'lora-fa': loraFa,
  dora,
  pissa,
  miss,
  hira,
}

/** The configuration that options of `train` describe, without those that its method does not have. */
export function newAdapterConfig(method: AdapterMethodName, options: Partial<NewAdapterOptions>): AdapterConfigBase {
  const { method: _, operator, ...ofAll } = options
  return functions[method](method === 'mora' ? { ...ofAll, operator } : ofAll)
}

/**
 * The whole configuration of an adapter that is described by its method and some of its options.
 * @throws UsageError for an unknown method, and for options that are wrong or those of another method
 */
export function completeConfig(config: AdapterConfigBase): AdapterConfigBase {
  requireOptionsOf('the configuration of an adapter', config, { method: aText })
  const { method, ...options } = config
  if (Object.hasOwn(functions, method)) return functions[method as AdapterMethodName](options as object)
  // Of a method from elsewhere: whole, as its own function makes it.
  adapterMethod(method)
  requireOptionsOf('the configuration of an adapter', config, {
    ...{ rank: wholeFrom(1), dropout: aNumber, rankPattern: anObject, modulesToSave: texts },
    targetModules: either(aText, texts, instanceOf(RegExp, 'a regular expression')),
  })
  return config
}
