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
