import type { GgufField } from '../../io/gguf-writer.js'
import type { JsonObject } from '../../io/json.js'
import type { ModelConfig } from '../network/model-config.js'
import type { GgufMetadata } from './metadata.js'
import type { GgufNames } from './names.js'

/** Entries without the architecture before their names. */
export type Fields = Record<string, GgufField>

/** How a GGUF file holds a family's models. */
export interface GgufFamily {
  /** `general.architecture` */
  readonly architecture: string
  /** The class in transformers, for `architectures` in `config.json`. */
  readonly className: string
  /** What `config.json` would say. */
  config(metadata: GgufMetadata): JsonObject
  /** What `config` reads beside what every family has. */
  fields?(config: ModelConfig): Fields
  readonly names: GgufNames
  /** Whether rows of queries and keys rotate in adjacent pairs (`unpermuteRows`). */
  readonly permuted?: boolean
  /** What files hold norms' weights more than checkpoints do. */
  readonly normOffset?: number
}
