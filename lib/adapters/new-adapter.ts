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

const functions: Record<AdapterMethodName, (options: Omit<NewAdapterOptions, 'method'>) => AdapterConfigBase> = {
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

/** The configuration that options of `train` describe; each method takes those that are its own. */
export function newAdapterConfig(
  method: AdapterMethodName,
  options: Omit<NewAdapterOptions, 'method'>,
): AdapterConfigBase {
  return functions[method](options)
}
