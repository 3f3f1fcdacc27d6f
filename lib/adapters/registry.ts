import { UsageError } from '../errors.js'
import type { AdapterConfigBase, AdapterMethod } from './adapter.js'
import { loraMethod } from './lora.js'
import { moraMethod } from './mora.js'

/** Every method; a new one is a file and a line here. The order decides who is asked first about a file. */
const methods: readonly AdapterMethod[] = [moraMethod, loraMethod] as unknown as readonly AdapterMethod[]

export function adapterMethod(name: string): AdapterMethod {
  const method = methods.find((candidate) => candidate.name === name)
  if (method) return method
  throw new UsageError(
    'unknown-method',
    `Method ${name} is not available; available: ${methods.map((m) => m.name).join(', ')}.`,
  )
}

/** The method and configuration that an `adapter_config.json` describes. */
export function configFromPeft(json: Readonly<Record<string, unknown>>, source: string): AdapterConfigBase {
  for (const method of methods) {
    const config = method.fromPeft(json, source)
    if (config) return config
  }
  throw new UsageError(
    'unknown-method',
    `${source} has peft_type ${JSON.stringify(json.peft_type)}, which is not available.`,
  )
}
