import { UsageError } from '../../common/errors.js'
import { type FloatDType, type Grouping, native } from '../../native/addon.js'
import type { LayerUpdate } from '../../nn/layer-adapter.js'
import type { LinearInput } from '../../nn/linear-input.js'
import type { Destination } from '../../tensor/destination.js'
import { writeWeightGradient } from '../../tensor/gradient-writes.js'
import { factor } from '../../tensor/operations/linear.js'
import { groupSum } from '../../tensor/operations/mora.js'
import type { Parameter } from '../../tensor/parameter.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import {
  type AdapterConfigBase,
  type AdapterMethod,
  type ConfigOf,
  type LayerOptions,
  MERGE_WITH_PEFT,
} from '../contract/adapter.js'
import { checkedConfig, requireOneRank } from '../contract/adapter-config.js'
import { AdapterLayer } from '../contract/adapter-layer.js'
import { dropoutEntry } from '../contract/peft-entries.js'

const fields = {}

/**
 * MiSS (arXiv 2409.15371): every run of `rank` columns of ΔW is the same trained matrix [d, rank], so
 * y = W x + Dᵀ z with z the sum of the runs of x, and D [rank, d] starting at zero. It has rank · d parameters a layer.
 */
export function miss(options: Partial<Omit<AdapterConfigBase, 'method'>> = {}): ConfigOf<'miss'> {
  requireOneRank('miss', options)
  return { method: 'miss', ...checkedConfig(fields, options) }
}

export class MissLayer extends AdapterLayer {
  /** The groups of columns of x that are summed. */
  readonly #runs: Grouping

  constructor(
    options: LayerOptions,
    dropout: number,
    /** Dᵀ [d, rank] */
    readonly block: Parameter,
  ) {
    super(options, dropout, [block])
    this.#runs = { kind: 'tile', wrap: false, width: options.layer.inFeatures, side: block.shape[1]! }
  }

  override forward(input: LinearInput, scale: number, into: Destination): Tensor {
    const seen = this.seen(input)
    const z = seen.derive(`miss ${this.#runs.side}`, () => groupSum(seen.x, this.#runs))
    return factor(z, this.block, scale, into)
  }

  weightUpdate(scale: number): LayerUpdate {
    return {
      parameters: this.parameters,
      readsWeight: false,
      addTo: (rows) => native.groupSpread(this.#runs, this.block.as('float32', scale).native, rows.native, true),
      backward: (dY, x, [dBlock]) =>
        scope(() => {
          const z = Tensor.empty([x.shape[0]!, this.#runs.side], { device: x.device, dtype: x.dtype as FloatDType })
          native.groupSum(this.#runs, x.native, z.native, false)
          writeWeightGradient(dBlock!, dY, z, scale)
        }),
    }
  }
}

export const missMethod: AdapterMethod<ConfigOf<'miss'>, typeof fields> = {
  name: 'miss',
  rankMeaning: 'the rank itself',
  options: fields,
  lacks: ['rankPattern'],
  config: miss,
  learningRate: () => 5e-5,
  readByPeft: true,

  tensors: {
    miss_block: { shape: ({ rank }, { outFeatures }) => [outFeatures, rank], transposed: true },
  },

  rankLimit: (_, { name, inFeatures }) => ({
    most: inFeatures,
    of: `inputs of ${name}: miss cannot share it`,
    refused: true,
  }),

  layerMemory: () => ({}),

  layer: ({ dropout }, options, tensors) => new MissLayer(options, dropout, tensors.parameter('miss_block')),

  peft: {
    peft_type: 'MISS',
    bias: 'none',
    init_weights: {
      read(value, { source }) {
        if (value !== 'bat' && value !== 'mini') return {}
        throw new UsageError(
          'unsupported-option',
          `${source} has init_weights ${value}, another method of PEFT's MISS, which is not available: ${MERGE_WITH_PEFT}.`,
        )
      },
      write: () => true,
    },
    mini_r: 1,
    miss_dropout: dropoutEntry,
  },
}
