import type { JsonObject } from '../../../io/json.js'
import type { CodeFormat } from '../../../tensor/weight.js'
import type { ConfigReader } from '../../families/config-reader.js'
import type { StoredCodes } from '../stored-codes.js'
import type { CheckpointTensors } from './checkpoint-tensors.js'

/** A way to store quantised weights in safetensors, as the tools of one kind write it. */
export interface QuantisationFormat {
  /** `quant_method` of the configuration. */
  readonly method: string
  /** The formats of codes that it has, and what computing with each costs. */
  readonly costs: Readonly<Record<CodeFormat, ComputingCost>>
  /**
   * Reads which weights are stored so, and takes their tensors.
   * @param settings `quantization_config`, words in lower case
   * @throws UsageError `unsupported-option`, `unsupported-dtype` for what is not supported, InputError `malformed-file`
   */
  weights(settings: ConfigReader, tensors: CheckpointTensors): StoredCodes[]
}

/** What it costs on a CPU to compute with weights that stay quantised; `load/storage-plan.ts` says how it was measured. */
export interface ComputingCost {
  /** Tokens whose products in bfloat16 take as long as making the weights' values for a forward and a backward pass does. */
  readonly training: number
  /** Times as long as beside bfloat16 for the products of one token. */
  readonly decoding: number
}

/** Lowers the words of settings: tools read them in any case. */
export function inLowerCase(settings: JsonObject): JsonObject {
  const entries = Object.entries(settings)
  return Object.fromEntries(
    entries.map(([key, value]) => [key, typeof value === 'string' ? value.toLowerCase() : value]),
  )
}
