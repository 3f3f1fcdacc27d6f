import { float32 } from '../../io/gguf-writer.js'
import type { JsonObject } from '../../io/json.js'
import type { RotaryPlan } from '../../nn/rotary.js'
import { pairedRows } from '../gguf/layout.js'
import { llamaNames } from '../gguf/names.js'
import { attentionsOf } from '../network/plan.js'
import type { Family } from './family.js'
import { type Defaults, layerWindows, llamaBlock, llamaModel, readLlamaSizes } from './parts.js'
import { readRotary } from './rotary-settings.js'

/** Values of the class, which configurations may leave out. */
const defaults: Defaults = {
  vocabularySize: 131_072,
  hiddenSize: 4096,
  intermediateSize: 14_336,
  layers: 34,
  heads: 32,
  keyValueHeads: 8,
  headSize: 128,
  maxPositions: 262_144,
  epsilon: 1e-5,
}

const parameters = {
  rope_type: 'yarn',
  rope_theta: 1_000_000,
  factor: 16,
  original_max_position_embeddings: 16_384,
  beta_fast: 32,
  beta_slow: 1,
  mscale: 1,
  mscale_all_dim: 1,
  llama_4_scaling_beta: 0.1,
}

/** Ministral 3, text only: Llama with YaRN and queries that grow with their position. */
export const ministral3: Family = {
  modelType: 'ministral3',
  published: 'Ministral 3, Mistral Small 3',

  read(read) {
    const { sizes, norm } = readLlamaSizes(read, defaults)
    const rotary = readRotary(read, { ...sizes, theta: 1_000_000, parameters, queryGrowth: true })
    const windows = layerWindows(read, sizes, read.optionalNumber('sliding_window'), () => true)
    return llamaModel(read, { sizes, norm }, (i) => llamaBlock(sizes, i, { norm, rotary, window: windows[i] }))
  },

  gguf: {
    architecture: 'mistral3',
    className: 'Ministral3ForCausalLM',
    names: llamaNames,
    layout: pairedRows,
    config(metadata) {
      const { rope_theta, rope_scaling, ...config } = metadata.llamaConfig()
      // llama.cpp takes mscale for 1.
      const all = metadata.number('rope.scaling.yarn_log_multiplier', 0)
      return {
        hidden_act: 'silu',
        ...config,
        rope_parameters: {
          rope_theta,
          ...((rope_scaling as JsonObject | null) ?? { rope_type: 'default' }),
          ...(all !== 0 && { mscale: 1, mscale_all_dim: all }),
          llama_4_scaling_beta: metadata.number('attention.temperature_scale', 0),
        },
      }
    },
    fields({ network }) {
      const rotary = attentionsOf(network)[0]!.rotary!
      return {
        'rope.scaling.yarn_log_multiplier': float32(logMultiplier(rotary)),
        'attention.temperature_scale': float32(rotary.queryGrowth?.beta ?? 0),
      }
    },
  },
}

/** Returns `mscale_all_dim` where `mscale` is 1: YaRN's attention factor is (1 + 0.1 ln factor) / (1 + 0.1 mscale_all_dim ln factor). */
function logMultiplier({ scaling }: RotaryPlan): number {
  if (scaling.type !== 'yarn' || scaling.factor <= 1) return 0
  const logarithm = 0.1 * Math.log(scaling.factor)
  return ((1 + logarithm) / scaling.attentionFactor - 1) / logarithm
}
