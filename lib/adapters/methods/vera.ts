import { optionalReal } from '../../schema/option.js'
import { scaleRows } from '../../tensor/operations/factors.js'
import { matmul } from '../../tensor/operations/products.js'
import type { AdapterConfigBase, AdapterMethod } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group, requireOneRank } from '../contract/adapter-config.js'
import { DeltaLayer } from '../contract/adapter-layer.js'
import { dropoutEntry, positiveEntry } from '../contract/peft-entries.js'
import { kaimingUniform, rankOfProduct } from './low-rank.js'

export interface VeraConfig extends AdapterConfigBase {
  readonly method: 'vera'
  /** Initial value of λ_d. */
  readonly veraInitial: number
}

const fields = {
  veraInitial: optionalReal('VeRA: initial value of the weights of its rows', { above: 0, defaultText: '0.1', group }),
}

/**
 * VeRA (arXiv 2310.11454): ΔW = diag(λ_b) B diag(λ_d) A with one random pair A and B for the whole model, whose first columns
 * and rows a layer uses; λ_d [rank] and λ_b [d] are trained.
 */
export function vera(options: Partial<Omit<VeraConfig, 'method'>> = {}): VeraConfig {
  requireOneRank('vera', options)
  const config = checkedConfig(fields, options)
  return { ...config, method: 'vera', veraInitial: config.veraInitial ?? 0.1 }
}

export const veraMethod: AdapterMethod<VeraConfig, typeof fields> = {
  name: 'vera',
  rankMeaning: 'the rank of their random matrices',
  options: fields,
  lacks: ['rankPattern'],
  config: vera,
  learningRate: () => 4e-3,
  readByPeft: true,
  rankLimit: (_, layer) => rankOfProduct(layer),

  tensors: {
    vera_lambda_b: { shape: (_, { outFeatures }) => [outFeatures] },
    vera_lambda_d: {
      shape: ({ rank }) => [rank],
      initial: ({ config, shape }) => new Float32Array(shape[0]!).fill(config.veraInitial),
    },
    vera_A: {
      shape: ({ rank }, _, layers) => [rank, Math.max(...layers.map(({ inFeatures }) => inFeatures))],
      shared: true,
      initial: kaimingUniform,
    },
    vera_B: {
      shape: ({ rank }, _, layers) => [Math.max(...layers.map(({ outFeatures }) => outFeatures)), rank],
      shared: true,
      initial: kaimingUniform,
    },
  },

  layer({ dropout }, options, tensors) {
    const [outputs, rows] = [tensors.parameter('vera_lambda_b'), tensors.parameter('vera_lambda_d')]
    const [a, b] = [tensors.parameter('vera_A'), tensors.parameter('vera_B')]
    const { inFeatures, outFeatures } = options.layer
    return new DeltaLayer(options, dropout, [outputs, rows, a, b], {
      delta: () => matmul(scaleRows(b.rows(0, outFeatures), outputs), scaleRows(a.columns(0, inFeatures), rows)),
    })
  },

  peft: {
    peft_type: 'VERA',
    bias: 'none',
    d_initial: positiveEntry('veraInitial'),
    fan_in_fan_out: false,
    init_weights: true,
    projection_prng_key: 0,
    save_projection: true,
    vera_dropout: dropoutEntry,
  },
}
