import type { JsonObject } from '../../io/json.js'
import type { NetworkPlan } from './plan.js'

/** The sizes of a decoder. */
export interface ModelSizes {
  /** V: rows of the embeddings' table. */
  readonly vocabularySize: number
  /** D: width of the residual stream. */
  readonly hiddenSize: number
  /** F: width of the MLP. */
  readonly intermediateSize: number
  /** Number of blocks. */
  readonly layers: number
  /** H: query heads of a block. */
  readonly heads: number
  /** K: key and value heads, which groups of H / K query heads share. */
  readonly keyValueHeads: number
  /** E: width of a head. */
  readonly headSize: number
  /** Tokens that a row may have. */
  readonly maxPositions: number
}

/** A decoder, from `config.json`. */
export interface ModelConfig extends ModelSizes {
  /** `model_type` of its family. */
  readonly architecture: string
  /** Whether the output head is the embeddings' table. */
  readonly tiedEmbeddings: boolean
  /** Names of the labels that its head scores (`…ForSequenceClassification`), which has no output head then; absent: none. */
  readonly labels?: readonly string[]
  /** The network's structure. */
  readonly network: NetworkPlan
  /** Standard deviation of random weights, for training from scratch. */
  readonly initializerRange: number
  /** Ids of `eos_token_id` in `config.json`. */
  readonly eosIds: readonly number[]
  /** The file as read, to be written beside merged weights. */
  readonly json: JsonObject
  /** In a model that wraps a text model (`text_config`): the text model alone, under the names of its own class. */
  readonly text?: ModelConfig
}
