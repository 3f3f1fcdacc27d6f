import type { BaseModel } from '../../adapters/contract/base-model.js'
import type { BaseName } from '../../adapters/files/stored-adapter.js'
import { sharedName } from '../../io/shared-name.js'
import type { ModelConfig } from '../network/model-config.js'
import { transposedWeights, weightShapes } from '../network/plan.js'
import type { ModelSource } from '../read/model-source.js'

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

/** The model's name in the files of its adapters, as PEFT has it: of an absolute path the last part. */
export function baseName(source: ModelSource | null): BaseName {
  const { origin, path } = source ?? { origin: null, path: '' }
  if (origin) return { name: origin.id, revision: origin.revision }
  return { name: sharedName(path), revision: null }
}
