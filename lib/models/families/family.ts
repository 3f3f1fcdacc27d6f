import type { JsonObject } from '../../io/json.js'
import type { GgufFamily } from '../gguf/gguf-family.js'
import type { ModelSizes } from '../network/model-config.js'
import type { NetworkPlan } from '../network/plan.js'
import type { ConfigReader } from './config-reader.js'

/** One family of models: how its `config.json` is read, and how GGUF stores it. */
export interface Family {
  /** `model_type` in `config.json`. */
  readonly modelType: string
  /** Names of published models, for people. */
  readonly published: string
  /** Completes a configuration where its class differs from another one that reads it. */
  readonly completed?: (json: JsonObject) => JsonObject
  /** Reads a configuration; unread keys are reported afterwards. */
  read(read: ConfigReader): { sizes: ModelSizes; tiedEmbeddings: boolean; network: NetworkPlan }
  /** Null where GGUF has no architecture for it. */
  readonly gguf: GgufFamily | null
}
