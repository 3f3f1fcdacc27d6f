import { UsageError } from '../../errors.js'
import type { NetworkPlan } from '../network/plan.js'
import { ConfigReader, type Json } from './config-reader.js'
import type { ModelSizes } from './family.js'
import { families } from './index.js'

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
  readonly json: Json
}

/** Reads and checks a configuration; what it does not know it refuses by name. `source` names the file in errors. */
export function parseConfig(json: Json, source: string): ModelConfig {
  const family = families.find((candidate) => candidate.modelType === json.model_type)
  if (!family) {
    const known = families.map((candidate) => candidate.modelType).join(', ')
    const { model_type: named = 'without model_type' } = json
    throw new UsageError(
      'unsupported-architecture',
      `${source}: architecture ${typeof named === 'string' ? named : JSON.stringify(named)} is not supported; supported: ${known}.`,
    )
  }
  const read = new ConfigReader(json, source)
  const { sizes, tiedEmbeddings, network } = family.read(read)
  const config: ModelConfig = {
    architecture: family.modelType,
    ...sizes,
    tiedEmbeddings,
    network,
    initializerRange: read.number('initializer_range', 0.02),
    eosIds: [json.eos_token_id].flat().filter((id): id is number => typeof id === 'number'),
    json,
  }
  read.refuseUnknown()
  return config
}
