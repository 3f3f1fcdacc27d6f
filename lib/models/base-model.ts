import type { BaseName } from '../adapters/adapter-folder.js'
import type { BaseModel } from '../adapters/base-model.js'
import type { ModelConfig } from './config.js'
import { transposedWeights, weightShapes } from './network.js'
import type { ModelSource } from './source.js'

/** A model as adapters see it. */
export function baseModelOf(config: ModelConfig, source: ModelSource | null): BaseModel {
  const { network, tiedEmbeddings } = config
  return {
    weights: weightShapes(config),
    ties: new Map(tiedEmbeddings ? [[`${network.head}.weight`, `${network.embeddings}.weight`]] : []),
    transposed: transposedWeights(network),
    identity: () => source?.identity() ?? null,
  }
}

/** The model's name in the files of its adapters, as PEFT has it. */
export function baseName(source: ModelSource | null): BaseName {
  const { origin, path } = source ?? { origin: null, path: '' }
  return origin ? { name: origin.id, revision: origin.revision } : { name: path, revision: null }
}
