import type { BaseModel } from '../adapters/base-model.js'
import type { ModelConfig } from './config.js'
import { llamaWeightShapes } from './llama.js'
import type { ModelSource } from './source.js'

/** A model as adapters see it. */
export function baseModelOf(config: ModelConfig, source: ModelSource | null): BaseModel {
  return {
    weights: llamaWeightShapes(config),
    ties: new Map(config.tiedEmbeddings ? [['lm_head.weight', 'model.embed_tokens.weight']] : []),
    identity: () => source?.identity() ?? null,
  }
}
