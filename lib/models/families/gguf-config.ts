/** The model in a GGUF file: its configuration as Hugging Face writes it, and its tensors under Hugging Face's names. */
import { UsageError } from '../../common/errors.js'
import type { GgufFile } from '../../io/gguf-types.js'
import type { JsonObject } from '../../io/json.js'
import type { GgufFamily } from '../gguf/gguf-family.js'
import { GgufMetadata } from '../gguf/metadata.js'
import type { ModelConfig } from '../network/model-config.js'
import { withPrefix } from '../network/plan.js'
import type { Family } from './family.js'
import { families } from './index.js'
import { WITHOUT_EXPERTS } from './parse-config.js'

/** Returns the family of a GGUF file. @throws UsageError `unsupported-architecture` */
export function ggufFamily(file: GgufFile): { family: Family; gguf: GgufFamily } {
  const architecture = file.metadata.get('general.architecture')
  const alike = families.filter(({ gguf }) => gguf?.architecture === architecture)
  const isMarked = ({ gguf }: Family) => gguf?.marker && file.metadata.has(`${architecture}.${gguf.marker}`)
  const family = alike.find(isMarked) ?? alike.find(({ gguf }) => !gguf?.marker)
  if (family?.gguf) return { family, gguf: family.gguf }
  const known = new Set(families.flatMap(({ gguf }) => gguf?.architecture ?? []))
  const wayOut = file.metadata.has(`${architecture}.expert_count`) ? WITHOUT_EXPERTS : ''
  throw new UsageError(
    'unsupported-architecture',
    `${file.path} has ${architecture === undefined ? 'no general.architecture' : `the architecture ${architecture}`}; supported in GGUF files: ${[...known].join(', ')}${wayOut}.`,
  )
}

/**
 * Returns the `config.json` of the model in a GGUF file.
 * @param ropeFactors values of `rope_freqs.weight` [headSize / 2], needed if the file has that tensor
 * @throws UsageError `unsupported-architecture`, `unsupported-option` that names what is not supported
 * @throws InputError `malformed-file` if metadata is missing, of the wrong type, or contradicts the tensors
 */
export function configFromGguf(file: GgufFile, ropeFactors?: Float32Array): JsonObject {
  const { family, gguf } = ggufFamily(file)
  const metadata = new GgufMetadata(file, gguf.architecture, ropeFactors)
  const json = { architectures: [gguf.className], model_type: family.modelType, ...gguf.config(metadata) }
  metadata.refuseOverlooked()
  return json
}

/**
 * Returns how GGUF stores the models of a configuration's family.
 * @throws UsageError `unsupported-option` if there is no such way
 */
export function ggufFamilyOf({ text, architecture, network }: ModelConfig): GgufFamily {
  if (text) return withPrefix(ggufFamilyOf(text), text.network.basePrefix, network.basePrefix)
  const family = families.find(({ modelType }) => modelType === architecture)
  if (family?.gguf) return family.gguf
  throw new UsageError('unsupported-option', `GGUF files have no architecture for models of the type ${architecture}.`)
}
