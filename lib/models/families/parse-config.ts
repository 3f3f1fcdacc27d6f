import { UsageError } from '../../errors.js'
import type { JsonObject } from '../../io/json.js'
import type { ModelConfig } from '../network/model-config.js'
import { ConfigReader } from './config-reader.js'
import { families } from './index.js'

/** Ends the list of families for who has a model of another kind. */
export const WITHOUT_EXPERTS = ', all of them without experts: take a model that has none'

/** Reads and checks a configuration; what it does not know it refuses by name. `source` names the file in errors. */
export function parseConfig(json: JsonObject, source: string): ModelConfig {
  const family = families.find((candidate) => candidate.modelType === json.model_type)
  if (!family) {
    const known = families.map((candidate) => candidate.modelType).join(', ')
    const { model_type: named = 'without model_type' } = json
    const hasExperts = Object.keys(json).some((name) => /_experts$/.test(name))
    const wayOut = hasExperts ? WITHOUT_EXPERTS : ''
    throw new UsageError(
      'unsupported-architecture',
      `${source}: architecture ${typeof named === 'string' ? named : JSON.stringify(named)} is not supported; supported: ${known}${wayOut}.`,
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
