/** Quantised checkpoints, safetensors with a `quantization_config`: one source file for each format. */
import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { quoted, UsageError } from '../../../common/errors.js'
import { isJsonObject, readJsonObject } from '../../../io/json.js'
import { quantiserFiles } from '../../../io/model-folder.js'
import type { TensorLocation } from '../../../io/stored-dtype.js'
import type { CodeFormat } from '../../../tensor/weight.js'
import { ConfigReader } from '../../families/config-reader.js'
import type { StoredCodes } from '../stored-codes.js'
import type { OpenFile } from '../stored-weight.js'
import { awq } from './awq.js'
import { bitsandbytes } from './bitsandbytes.js'
import { compressedTensors } from './compressed-tensors.js'
import { CheckpointTensors, type ComputingCost, inLowerCase, type QuantisationFormat } from './format.js'
import { fp8 } from './fp8.js'
import { gptq } from './gptq.js'
import { modelopt } from './modelopt.js'

/** Every format of quantised checkpoints that this package reads: a new one is a file beside these, and an entry here. */
const formats: readonly QuantisationFormat[] = [bitsandbytes, gptq, awq, compressedTensors, fp8, modelopt]

/** The cost of computing with each format of codes. */
export const costsOfCodes: Readonly<Record<CodeFormat, ComputingCost>> = Object.assign(
  {},
  ...formats.map(({ costs }) => costs),
)

/** A checkpoint's tensors, sorted into quantised weights and others. */
interface QuantisedTensors {
  readonly weights: readonly StoredCodes[]
  readonly others: ReadonlyMap<string, TensorLocation>
}

/**
 * Returns the quantised weights of a checkpoint, and the tensors that belong to none of them.
 * @param settings the `quantization_config` in the file `source`
 * @throws UsageError `unsupported-option` that names what is not supported, InputError `malformed-file`
 */
export function quantisedWeights(
  settings: unknown,
  source: string,
  tensors: ReadonlyMap<string, TensorLocation>,
  open: OpenFile,
): QuantisedTensors {
  const read = new ConfigReader(isJsonObject(settings) ? inLowerCase(settings) : {}, `${source}: quantization_config`)
  if (!isJsonObject(settings)) throw read.malformed('quantization_config', 'an object', settings)
  // Older files of bitsandbytes have no quant_method.
  const isUnnamed = settings.load_in_8bit === true || settings.load_in_4bit === true
  const named = read.value('quant_method') ?? (isUnnamed ? bitsandbytes.method : undefined)
  const format = formats.find(({ method }) => method === named)
  if (!format) {
    const known = formats.map(({ method }) => method).join(', ')
    if (named === undefined) throw read.malformed('quant_method', known, named)
    throw new UsageError(
      'unsupported-option',
      `${source}: quantization_config has the quant_method ${quoted(named)}, which is not supported; supported: ${known}.`,
    )
  }
  const remaining = new CheckpointTensors(tensors, open)
  return { weights: format.weights(read, remaining), others: remaining.remaining }
}

/** A `quantization_config` that says how to read weights has a value for one of these keys. */
const namingKeys = ['quant_method', 'load_in_8bit', 'load_in_4bit']

/** A checkpoint's quantisation settings, and the file that they are from. */
interface QuantiserSettings {
  readonly settings: unknown
  readonly path: string
}

/**
 * Reads the quantisation settings of a configuration, or of the file that AutoGPTQ and AutoAWQ write beside it.
 * @returns `settings` null if weights are not quantised, also where the settings name no method and all tensors are floats
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
