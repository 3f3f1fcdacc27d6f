import type { GgufField } from '../../io/gguf-writer.js'
import type { JsonObject } from '../../io/json.js'
import type { ModelConfig } from '../network/model-config.js'
import type { TensorLayout } from './layout.js'
import type { GgufMetadata } from './metadata.js'
import type { GgufNames } from './names.js'

/** Fields by names without the architecture's prefix. */
export type Fields = Record<string, GgufField>

/** Storage of a family's models in GGUF files. */
export interface GgufFamily {
  /** `general.architecture` */
  readonly architecture: string
  /** A key, without the architecture's prefix, that only its files have among families of this architecture. */
  readonly marker?: string
  /** The class in transformers, for `architectures` in `config.json`. */
  readonly className: string
  /** Returns the values that `config.json` would have. */
  config(metadata: GgufMetadata): JsonObject
  /** The fields that `config` reads besides the fields of every family. */
  fields?(config: ModelConfig): Fields
  readonly names: GgufNames
  /** Returns how a tensor differs from its weight, by its GGUF name; null where it does not. */
  layout?(tensor: string, config: ModelConfig): TensorLayout | null
  /** llama.cpp's kind of its tokenizers that fall back to bytes; absent: `llama`. */
  readonly tokenizer?: 'gemma4'
  /** Whether files have norms' weights with their offset (`NormPlan.weightOffset`) added. */
  readonly addsOffsets?: boolean
}
