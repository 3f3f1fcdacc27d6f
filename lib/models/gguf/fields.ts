/** Writes a model's configuration as GGUF metadata, which `GgufMetadata` reads. */
import { float32, type GgufField, ggufText, uint32 } from '../../io/gguf-writer.js'
import type { RotaryPlan } from '../../nn/rotary.js'
import type { ModelConfig } from '../network/model-config.js'
import { attentionsOf, rotaryPlans } from '../network/plan.js'
import type { Fields, GgufFamily } from './gguf-family.js'
import { llama3Factors, proportionalFactors } from './rope-factors.js'

/** Returns a model's metadata, without its tokenizer's. */
export function modelFields(config: ModelConfig, { architecture, fields }: GgufFamily): Map<string, GgufField> {
  const { network } = config
  const epsilon = network.finalNorm.kind === 'rms' ? 'layer_norm_rms_epsilon' : 'layer_norm_epsilon'
  const own: Fields = {
    block_count: uint32(config.layers),
    context_length: uint32(config.maxPositions),
    embedding_length: uint32(config.hiddenSize),
    feed_forward_length: uint32(config.intermediateSize),
    'attention.head_count': uint32(config.heads),
    ...(config.keyValueHeads !== config.heads && { 'attention.head_count_kv': uint32(config.keyValueHeads) }),
    'attention.key_length': uint32(config.headSize),
    'attention.value_length': uint32(config.headSize),
    [`attention.${epsilon}`]: float32(network.finalNorm.epsilon),
    vocab_size: uint32(config.vocabularySize),
    ...rotaryFields(mainRotary(config)),
    ...fields?.(config),
  }
  return new Map([
    ['general.architecture', ggufText(architecture)],
    ...Object.entries(own).map(([name, field]) => [`${architecture}.${name}`, field] as const),
  ])
}

/** Where there are two kinds, as in Gemma 3, the one of the layers with full attention, which come last. */
function mainRotary({ network }: ModelConfig): RotaryPlan | null {
  return rotaryPlans(network).at(-1) ?? null
}

function rotaryFields(rotary: RotaryPlan | null): Fields {
  if (!rotary) return {}
  const { theta, headSize, scaling } = rotary
  const fields: Fields = { 'rope.freq_base': float32(theta), 'rope.dimension_count': uint32(headSize) }
  const original = (positions: number) => ({ 'rope.scaling.original_context_length': uint32(positions) })
  if (scaling.type === 'linear' || scaling.type === 'yarn') {
    fields['rope.scaling.type'] = ggufText(scaling.type)
    fields['rope.scaling.factor'] = float32(scaling.factor)
  }
  if (scaling.type === 'yarn') {
    fields['rope.scaling.yarn_beta_fast'] = float32(scaling.betaFast)
    fields['rope.scaling.yarn_beta_slow'] = float32(scaling.betaSlow)
  }
  return scaling.type === 'yarn' || scaling.type === 'llama3'
    ? { ...fields, ...original(scaling.originalPositions) }
    : fields
}

/** The window's length in families whose layers may have one; a length that has no effect where none has. */
export function windowField({ network, maxPositions }: ModelConfig): Fields {
  const windows = attentionsOf(network)
    .map(({ softmax }) => softmax.window)
    .filter((window) => window !== null)
  return { 'attention.sliding_window': uint32(windows[0] ?? maxPositions) }
}

/** Returns the values of `rope_freqs.weight`; null where the model has none. */
export function ropeFactors(config: ModelConfig): Float32Array | null {
  const rotary = mainRotary(config)
  if (rotary?.scaling.type === 'proportional') {
    const { factor, part } = rotary.scaling
    return Float32Array.from(proportionalFactors(factor, part, rotary.headSize))
  }
  if (rotary?.scaling.type !== 'llama3') return null
  const { factor, originalPositions } = rotary.scaling
  return Float32Array.from(llama3Factors(factor, originalPositions, rotary.theta, rotary.headSize))
}
