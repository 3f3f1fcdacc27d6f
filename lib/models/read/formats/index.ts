/** Checkpoints of safetensors with a `quantization_config`: one file for each format. */
import { quoted, UsageError } from '../../../common/errors.js'
import { isJsonObject } from '../../../io/json.js'
import type { TensorLocation } from '../../../io/stored-dtype.js'
import { ConfigReader } from '../../families/config-reader.js'
import { awq } from './awq.js'
import { bitsandbytes } from './bitsandbytes.js'
import { compressedTensors } from './compressed-tensors.js'
import { inLowerCase, type QuantisationFormat } from './format.js'
import { fp8 } from './fp8.js'
import { gptq } from './gptq.js'
import { CheckpointTensors, type OpenFile, type QuantisedWeight } from './tensors.js'

/** A format brings a reader; nothing else in this package knows of it. */
const formats: readonly QuantisationFormat[] = [bitsandbytes, gptq, awq, compressedTensors, fp8]

/** What a checkpoint's tensors make: quantised weights, and others that are what they are. */
export interface QuantisedTensors {
  readonly weights: readonly QuantisedWeight[]
  readonly others: ReadonlyMap<string, TensorLocation>
}

/**
 * The quantised weights of a checkpoint, and the tensors that are none of theirs.
 * @param settings `quantization_config` of the configuration in the file `source`
 * @throws UsageError `unsupported-option` with the name of what is not supported, InputError `malformed-file`
 */
export function quantisedWeights(
  settings: unknown,
  source: string,
  tensors: ReadonlyMap<string, TensorLocation>,
  open: OpenFile,
): QuantisedTensors {
  const read = new ConfigReader(isJsonObject(settings) ? inLowerCase(settings) : {}, `${source}: quantization_config`)
  if (!isJsonObject(settings)) throw read.malformed('quantization_config', 'an object', settings)
  // Older files of bitsandbytes do not name it.
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
  const left = new CheckpointTensors(tensors, open)
  return { weights: format.weights(read, left), others: left.left }
}
