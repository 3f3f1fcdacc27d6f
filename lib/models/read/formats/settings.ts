import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isJsonObject, readJsonObject } from '../../../io/json.js'
import { quantiserFiles } from '../../../io/model-folder.js'
import type { TensorLocation } from '../../../io/stored-dtype.js'
import { awq } from './awq.js'
import { gptq } from './gptq.js'

/** One of them has a value where `quantization_config` says how weights are to be read. */
const namingKeys = ['quant_method', 'load_in_8bit', 'load_in_4bit']

/** How a checkpoint is quantised, and the file that says so. */
export interface QuantiserSettings {
  readonly settings: unknown
  readonly path: string
}

/**
 * What a configuration says of quantised weights, or what AutoGPTQ and AutoAWQ wrote beside one that does not say it.
 * @returns `settings` null where weights are not quantised, as where a configuration names no method and all tensors are floats
 */
export async function quantiserSettings(
  configPath: string,
  inConfig: unknown,
  tensors: ReadonlyMap<string, TensorLocation>,
  onWarning: (message: string) => void = () => {},
): Promise<QuantiserSettings> {
  const own = { settings: inConfig ?? null, path: configPath }
  const isNamed = !isJsonObject(inConfig) || namingKeys.some((key) => inConfig[key])
  if (!isNamed && [...tensors.values()].every(({ dtype }) => dtype.includes('float'))) {
    onWarning(`${configPath}: quantization_config is ignored, since it has no quant_method and all tensors are floats.`)
    return { ...own, settings: null }
  }
  if (own.settings !== null || ![...tensors.keys()].some((name) => name.endsWith('.qweight'))) return own
  const folder = dirname(configPath)
  const names = await readdir(folder)
  const name = quantiserFiles.find((file) => names.includes(file))
  if (name === undefined) return own
  const path = join(folder, name)
  const settings = await readJsonObject(path)
  return { settings: { quant_method: name === 'quant_config.json' ? awq.method : gptq.method, ...settings }, path }
}
