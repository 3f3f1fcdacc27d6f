import { native } from '../../native.js'
import type { LayerUpdate } from '../../nn/layer-adapter.js'
import { optionalReal } from '../../schema/option.js'
import type { Parameter } from '../../tensor/parameter.js'
import { keep, scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, LayerOptions } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group, requireOneRank } from '../contract/adapter-config.js'
import { AdapterLayer, weightGradient } from '../contract/adapter-layer.js'
import { commonEntries, dropoutFrom, positiveFrom } from '../contract/peft-entries.js'
import { kaimingUniform, rankOfProduct } from './low-rank.js'

export interface VeraConfig extends AdapterConfigBase {
  readonly method: 'vera'
  /** First values of λ_d. */
  readonly veraInitial: number
}

const fields = {
  veraInitial: optionalReal('VeRA: first value of the weights of its rows', { above: 0, defaultText: '0.1', group }),
}

/**
 * VeRA (arXiv 2310.11454): ΔW = diag(λ_b) B diag(λ_d) A with one random pair A and B for the whole model, of which a layer takes
 * the first columns and rows; λ_d [rank] and λ_b [d] are trained.
 */
export function vera(options: Partial<Omit<VeraConfig, 'method'>> = {}): VeraConfig {
  requireOneRank('vera', options)
  const config = checkedConfig(fields, options)
  return { ...config, method: 'vera', veraInitial: config.veraInitial ?? 0.1 }
}

interface Tensors {
  /** λ_b [d] */
  readonly outputs: Parameter
  /** λ_d [rank] */
  readonly rows: Parameter
  /** [rank, largest k], frozen */
  readonly a: Parameter
  /** [largest d, rank], frozen */
  readonly b: Parameter
}

export class VeraLayer extends AdapterLayer {
  readonly #ones: Tensor

  constructor(
    options: LayerOptions,
    dropout: number,
    readonly own: Tensors,
  ) {
    const { inFeatures } = options.layer
    const { outputs, rows, a, b } = own
    const ones = keep(Tensor.empty([Math.max(inFeatures, rows.elements)], { device: options.device }))
    native.fill(ones.native, 1)
    super(options, dropout, [outputs, rows, a, b, ones])
    this.#ones = ones
  }

  weightUpdate(scale: number): LayerUpdate {
    const { outputs, rows, a, b } = this.own
    const { inFeatures, outFeatures } = this.options.layer
    const ownA = () => a.view([rows.elements, inFeatures], [a.shape[1]!, 1])
    const ownB = () => b.view([outFeatures, rows.elements])
    return {
      parameters: this.parameters,
      addTo: (target) =>
        scope(() => {
          const [left, right] = [this.#scaled(ownB(), outputs), this.#scaled(ownA(), rows)]
          native.matmul(left.native, false, right.native, false, target.native, scale, true)
        }),
      backward: (dY, x, [dOutputs, dRows]) =>
        scope(() => {
          const gradient = weightGradient(dY, x)
          const [left, right] = [this.#scaled(ownB(), outputs), this.#scaled(ownA(), rows)]
          const dLeft = Tensor.empty(left.shape, left)
          native.matmul(gradient.native, false, right.native, true, dLeft.native, scale, false)
          const dRight = Tensor.empty(right.shape, right)
          native.matmul(left.native, true, gradient.native, false, dRight.native, scale, false)
          dOutputs!.write((target, add) => this.#addRowProducts(ownB(), dLeft, target, add))
          dRows!.write((target, add) => this.#addRowProducts(ownA(), dRight, target, add))
        }),
    }
  }

  override describe(): { rank: number } {
    return { rank: this.own.rows.elements }
  }

  /** diag(weights) matrix */
  #scaled(matrix: Tensor, weights: Tensor): Tensor {
    const result = Tensor.empty(matrix.shape, matrix)
    native.rmsNormApply(matrix.native, this.#ones.view([matrix.shape[1]!]).native, 0, weights.native, result.native)
    return result
  }

  /** sums [rows] (+)= the product of each row of one matrix with that of another, which is lost. */
  #addRowProducts(one: Tensor, other: Tensor, sums: Tensor, add: boolean): void {
    const [rows, columns] = other.shape as [number, number]
    native.multiply(one.native, other.native, other.native, 1, false)
    native.matmul(other.native, false, this.#ones.view([columns, 1]).native, false, sums.view([rows, 1]).native, 1, add)
  }
}

export const veraMethod: AdapterMethod<VeraConfig, typeof fields> = {
  name: 'vera',
  options: fields,
  lacks: ['rankPattern'],
  config: vera,
  learningRate: () => 4e-3,
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
    return new VeraLayer(options, dropout, {
      outputs,
      rows,
      a: tensors.parameter('vera_A'),
      b: tensors.parameter('vera_B'),
    })
  },

  fromPeft(json, source) {
    if (json.peft_type !== 'VERA') return null
    return vera({
      ...commonEntries(json, source),
      dropout: dropoutFrom(json, 'vera_dropout', source),
      veraInitial: positiveFrom(json, 'd_initial', source),
    })
  },

  toPeft: ({ dropout, veraInitial }) => ({
    bias: 'none',
    d_initial: veraInitial,
    fan_in_fan_out: false,
    init_weights: true,
    peft_type: 'VERA',
    projection_prng_key: 0,
    save_projection: true,
    vera_dropout: dropout,
  }),
}
