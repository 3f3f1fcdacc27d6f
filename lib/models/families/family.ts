import type { Fields } from '../gguf/fields.js'
import type { GgufMetadata } from '../gguf/metadata.js'
import type { GgufNames } from '../gguf/names.js'
import type { NetworkPlan } from '../network/plan.js'
import type { ConfigReader, Json } from './config-reader.js'
import type { ModelConfig } from './parse-config.js'

export interface ModelSizes {
  readonly vocabularySize: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly heads: number
  readonly keyValueHeads: number
  readonly headSize: number
  readonly maxPositions: number
}

/** One family of models: what its `config.json` means, and how GGUF holds it. */
export interface Family {
  /** `model_type` in `config.json`. */
  readonly modelType: string
  /** Reads a configuration; keys that nobody asks for are refused afterwards. */
  read(read: ConfigReader): { sizes: ModelSizes; tiedEmbeddings: boolean; network: NetworkPlan }
  /** Null where GGUF has no architecture of its own for it: such models are written as Llama's. */
  readonly gguf: GgufFamily | null
}

/** How a GGUF file holds a family's models. */
export interface GgufFamily {
  /** `general.architecture` */
  readonly architecture: string
  /** Of transformers, for `architectures` in `config.json`. */
  readonly className: string
  /** What `config.json` would say. */
  config(metadata: GgufMetadata): Json
  /** What `config` reads beside what every family has. */
  fields?(config: ModelConfig): Fields
  readonly names: GgufNames
  /** Whether rows of queries and keys rotate in adjacent pairs (`unpermuteRows`). */
  readonly permuted?: boolean
  /** What files hold norms' weights more than checkpoints do. */
  readonly normOffset?: number
}
