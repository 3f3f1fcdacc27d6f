/** Configuration files of PEFT's type `LORA`: the method that a file describes, and the entries of all methods of that type. */
import { UsageError } from '../../common/errors.js'
import { isJsonObject } from '../../io/json.js'
import { MERGE_WITH_PEFT } from '../contract/adapter.js'
import { dropoutEntry, patternsEntry, positiveEntry } from '../contract/peft-entries.js'

type Json = Readonly<Record<string, unknown>>

/** Unsupported entries that change what an adapter computes. */
const foreign = [
  'alora_invocation_tokens',
  'arrow_config',
  'kasa_config',
  'lora_bias',
  'monteclora_config',
  'target_parameters',
  'use_bdlora',
  'use_qalora',
]

/** PEFT's default of `lora_alpha`. */
export const PEFT_ALPHA = 8

/** Returns the method's name; null if the file is not of type `LORA`. */
export function loraMethodOf(json: Json, source: string): string | null {
  if (json.peft_type !== 'LORA' || json.use_mora === true) return null
  for (const option of foreign) {
    if (json[option])
      throw new UsageError('unsupported-option', `${source} has ${option}, which is not supported: ${MERGE_WITH_PEFT}.`)
  }
  if (isJsonObject(json.node_mora) && typeof json.node_mora.method === 'string') return json.node_mora.method
  const initial = json.init_lora_weights
  if (typeof initial === 'string' && /^(pissa|olora|corda|loftq|lora_ga)/.test(initial)) {
    throw new UsageError(
      'unsupported-option',
      `${source} has init_lora_weights ${initial}: it belongs to a changed base model; ${initial.startsWith('loftq') ? '' : "convert it to a plain LoRA with PEFT's path_initial_model_for_weight_conversion, or "}${MERGE_WITH_PEFT}.`,
    )
  }
  if (json.use_dora === true && json.use_rslora === true) {
    throw new UsageError(
      'unsupported-option',
      `${source} has use_dora and use_rslora together, which is not available: ${MERGE_WITH_PEFT}.`,
    )
  }
  return json.use_dora === true ? 'dora' : json.use_rslora === true ? 'rslora' : 'lora'
}

/** Entries of all methods of the type, and of MoRA. */
export const loraEntries = {
  peft_type: 'LORA',
  bias: 'none',
  fan_in_fan_out: false,
  init_lora_weights: true,
  lora_dropout: dropoutEntry,
} as const

/** Entries of LoRA and its variants. */
export const lowRankEntries = {
  ...loraEntries,
  alpha_pattern: patternsEntry('alphaPattern'),
  lora_alpha: positiveEntry('alpha', { absent: PEFT_ALPHA }),
  use_dora: false,
  use_rslora: false,
} as const
