import type { JsonObject } from '../../../io/json.js'
import type { ConfigReader } from '../../families/config-reader.js'
import type { CheckpointTensors, QuantisedWeight } from './tensors.js'

/** A way to store quantised weights in safetensors, as the tools of one kind write it. */
export interface QuantisationFormat {
  /** `quant_method` of the configuration. */
  readonly method: string
  /**
   * The weights that are stored so; their tensors are taken.
   * @param settings `quantization_config`, words in lower case
   * @throws UsageError `unsupported-option`, `unsupported-dtype` for what is not supported, InputError `malformed-file`
   */
  weights(settings: ConfigReader, tensors: CheckpointTensors): QuantisedWeight[]
}

/** Tools read the words of their settings in any case. */
export function inLowerCase(settings: JsonObject): JsonObject {
  const entries = Object.entries(settings)
  return Object.fromEntries(
    entries.map(([key, value]) => [key, typeof value === 'string' ? value.toLowerCase() : value]),
  )
}
