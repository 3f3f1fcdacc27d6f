import type { GgufField } from '../../io/gguf-writer.js'
import type { JsonObject } from '../../io/json.js'
import type { ModelConfig } from '../network/model-config.js'
import type { GgufMetadata } from './metadata.js'
import type { GgufNames } from './names.js'

/** Fields by names without the architecture's prefix. */
export type Fields = Record<string, GgufField>

/** How a GGUF file stores a family's models. */
export interface GgufFamily {
  /** `general.architecture` */
  readonly architecture: string
  /** A key, without the architecture's prefix, that tells its files from those of other families of this architecture. */
  readonly marker?: string
  /** The class in transformers, for `architectures` in `config.json`. */
  readonly className: string
  /** Returns the values that `config.json` would have. */
  config(metadata: GgufMetadata): JsonObject
  /** The fields that `config` reads besides those of every family. */
  fields?(config: ModelConfig): Fields
  readonly names: GgufNames
  /** Returns the order of a tensor's rows in files (`FileLayout.rowOrder`) by its GGUF name; null: their own. */
  order?(tensor: string, config: ModelConfig): Int32Array | null
  /** The offset that files add to norms' weights. */
  readonly normOffset?: number
}
