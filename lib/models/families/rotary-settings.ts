import { isJsonObject, type JsonObject } from '../../io/json.js'
import type { RotaryPlan, RotaryScaling } from '../../nn/rotary.js'
import type { ConfigReader } from './config-reader.js'

export interface RotaryDefaults {
  readonly headSize: number
  readonly maxPositions: number
  readonly theta?: number
  /** `rope_parameters` where the configuration has none. */
  readonly parameters?: JsonObject
  /**
   * `partial_rotary_factor` where the configuration has none, of families whose plain embedding (`default`) rotates that part of
   * a head; scaled ones do in any family.
   */
  readonly partial?: number
  /** The types that a family knows, by their names in its configurations; absent: all of them, by their own. */
  readonly types?: Readonly<Record<string, RotaryScaling['type']>>
  /** Whether the family reads `llama_4_scaling_beta`. */
  readonly queryGrowth?: boolean
}

const allTypes = {
  default: 'default',
  linear: 'linear',
  dynamic: 'dynamic',
  proportional: 'proportional',
  llama3: 'llama3',
  yarn: 'yarn',
  longrope: 'longrope',
} as const

/** Reads rotary settings from the newer `rope_parameters` or the older `rope_theta` and `rope_scaling`. */
export function readRotary(read: ConfigReader, defaults: RotaryDefaults): RotaryPlan {
  const parameters = read.value('rope_parameters') ?? read.value('rope_scaling') ?? defaults.parameters ?? {}
  if (!isJsonObject(parameters)) throw read.malformed('rope_parameters', 'an object', parameters)
  return rotaryFrom(read, parameters, { ...defaults, theta: read.number('rope_theta', defaults.theta ?? 10000) })
}

/**
 * Reads rotary settings of layers with full attention (`global`) and of those with a window (`local`): each kind's own from
 * `rope_parameters`, or the older keys, which scale the frequencies of the first alone.
 */
export function readRotaries(
  read: ConfigReader,
  defaults: RotaryDefaults & { readonly localTheta?: number },
): { global: RotaryPlan; local: RotaryPlan } {
  const { full_attention: ofFull, sliding_attention: ofSliding } = Object(
    read.value('rope_parameters') ?? defaults.parameters,
  )
  if (isJsonObject(ofFull) && isJsonObject(ofSliding)) {
    const { localTheta = defaults.theta } = defaults
    // As in transformers, `truncate` is not read here.
    return {
      global: rotaryFrom(read, { ...ofFull, truncate: null }, defaults),
      local: rotaryFrom(read, { ...ofSliding, truncate: null }, { ...defaults, theta: localTheta }),
    }
  }
  const global = readRotary(read, defaults)
  const { localTheta = global.theta } = defaults
  return { global, local: { ...global, theta: localTheta, scaling: { type: 'default' } } }
}

/** Reads rotary settings from one object; missing keys are read from the configuration. */
function rotaryFrom(
  read: ConfigReader,
  parameters: JsonObject,
  { headSize, maxPositions, theta: usualTheta = 10000, partial, types = allTypes, queryGrowth = false }: RotaryDefaults,
): RotaryPlan {
  const options = read.inside(parameters, 'rope settings')
  const theta = options.number('rope_theta', usualTheta)
  const given = options.number('partial_rotary_factor', read.number('partial_rotary_factor', partial ?? 1))
  const named = options.value('rope_type') ?? options.value('type') ?? 'default'
  options.value('type')
  const type = typeof named === 'string' && Object.hasOwn(types, named) ? types[named]! : null
  if (type === null) throw options.unsupported('rope_type', named, `known are ${Object.keys(types).join(', ')}`)
  // Sections of positions (M-RoPE), which are all the same without images.
  for (const key of ['mrope_section', 'mrope_interleaved']) options.value(key)
  const part = type === 'default' && partial === undefined ? 1 : given
  const rotated = type === 'proportional' ? headSize : Math.floor(headSize * part)
  if (rotated % 2 !== 0 || !(part > 0 && part <= 1)) {
    throw options.unsupported('partial_rotary_factor', part, `it must give an even part of ${headSize}`)
  }
  const original = () =>
    read.integer('original_max_position_embeddings', options.integer('original_max_position_embeddings', maxPositions))
  const scaling = readScaling(options, type, { original, maxPositions, pairs: rotated / 2, part })
  const beta = queryGrowth ? options.number('llama_4_scaling_beta', 0) : 0
  const ofLayers = options.unread().find((key) => isJsonObject(parameters[key]))
  if (ofLayers) throw options.unsupported(ofLayers, parameters[ofLayers], 'these layers have no settings of their own')
  if (beta !== 0 && rotated < headSize)
    throw options.unsupported('partial_rotary_factor', part, 'llama_4_scaling_beta needs whole heads')
  const plan = { theta, headSize: rotated, scaling }
  return beta === 0 ? plan : { ...plan, queryGrowth: { beta, originalPositions: original() } }
}

interface Reach {
  /** The context length of pretraining. */
  original(): number
  readonly maxPositions: number
  /** Pairs of a head that rotate. */
  readonly pairs: number
  /** `partial_rotary_factor` */
  readonly part: number
}

function readScaling(
  options: ConfigReader,
  type: RotaryScaling['type'],
  { original, maxPositions, pairs, part }: Reach,
): RotaryScaling {
  switch (type) {
    case 'default':
      return { type }
    case 'linear':
      return { type, factor: options.positive('factor') }
    case 'dynamic':
      return { type, factor: options.positive('factor'), maxPositions }
    case 'proportional':
      return { type, factor: options.positive('factor', 1), part }
    case 'llama3':
      return {
        type,
        factor: options.number('factor'),
        lowFrequencyFactor: options.number('low_freq_factor'),
        highFrequencyFactor: options.number('high_freq_factor'),
        originalPositions: original(),
      }
    case 'yarn': {
      const factor = options.number('factor', maxPositions / original())
      const scale = (by: number) => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1)
      const [mscale, all] = [options.number('mscale', 0), options.number('mscale_all_dim', 0)]
      const usual = mscale && all ? scale(mscale) / scale(all) : scale(1)
      return {
        type,
        factor,
        originalPositions: original(),
        betaFast: options.number('beta_fast', 32),
        betaSlow: options.number('beta_slow', 1),
        attentionFactor: options.number('attention_factor', usual),
        truncate: options.value('truncate') !== false,
      }
    }
    case 'longrope': {
      const originalPositions = original()
      const factor = options.number('factor', maxPositions / originalPositions)
      const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalPositions))
      return {
        type,
        shortFactors: options.positives('short_factor', pairs),
        longFactors: options.positives('long_factor', pairs),
        originalPositions,
        attentionFactor: options.number('attention_factor', usual),
      }
    }
  }
}
