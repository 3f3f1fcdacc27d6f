import type { ConfigReader } from '../../families/config-reader.js'
import type { CheckpointTensors, QuantisedWeight } from './tensors.js'

/** A way to store quantised weights in safetensors, as the tools of one kind write it. */
export interface QuantisationFormat {
  /** `quant_method` of the configuration. */
  readonly method: string
  /**
   * The weights that are stored so; their tensors are taken.
   * @param settings `quantization_config`
   * @throws UsageError `unsupported-option`, `unsupported-dtype` for what is not supported, InputError `malformed-file`
   */
  weights(settings: ConfigReader, tensors: CheckpointTensors): QuantisedWeight[]
}
