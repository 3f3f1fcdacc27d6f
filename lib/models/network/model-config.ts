import type { JsonObject } from '../../io/json.js'
import type { NetworkPlan } from './plan.js'

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

/** A decoder, from `config.json`. */
export interface ModelConfig extends ModelSizes {
  /** `model_type` of its family. */
  readonly architecture: string
  readonly tiedEmbeddings: boolean
  /** How the network is made. */
  readonly network: NetworkPlan
  /** Standard deviation of random weights, for training from scratch. */
  readonly initializerRange: number
  readonly eosIds: readonly number[]
  /** As read, to be written again beside merged weights. */
  readonly json: JsonObject
}
