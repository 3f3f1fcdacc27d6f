import { anObject, requireArgument } from '../arguments.js'
import { UsageError } from '../errors.js'
import { type FloatDType, type Grouping, native } from '../native.js'
import type { LayerAdapter, LayerUpdate } from '../nn/layer-adapter.js'
import type { LinearInput } from '../nn/linear-input.js'
import { AdapterSchema } from '../options/adapter-options.js'
import type { Destination } from '../tensor/destination.js'
import { factor } from '../tensor/operations/linear.js'
import { groupSum } from '../tensor/operations/mora.js'
import { Parameter } from '../tensor/parameter.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import {
  type AdapterConfigBase,
  type AdapterMethod,
  asTransposed,
  type LayerFacts,
  type LayerOptions,
  transposed,
} from './adapter.js'
import { checkedConfig } from './adapter-config.js'
import { requireShape } from './low-rank.js'
import { dropoutFrom } from './peft-entries.js'

export interface MissConfig extends AdapterConfigBase {
  readonly method: 'miss'
}

/**
 * MiSS (arXiv 2409.15371): every run of `rank` columns of ΔW is the same trained matrix [d, rank], so
 * y = W x + Dᵀ z with z the sum of the runs of x, and D [rank, d] starting at zero. It has rank · d parameters a layer.
 */
export function miss(options: Partial<Omit<MissConfig, 'method'>> = {}): MissConfig {
  requireArgument('the options of an adapter', options, anObject)
  if (Object.keys(options.rankPattern ?? {}).length > 0) {
    throw new UsageError('unsupported-option', "miss has one rank for all layers: PEFT's format knows no rankPattern.")
  }
  return { method: 'miss', ...checkedConfig(AdapterSchema, options) }
}

const suffix = 'miss_block'

export class MissLayer implements LayerAdapter {
  readonly parameters: readonly Parameter[]
  /** How columns of x fall into the values that are summed. */
  readonly #runs: Grouping

  constructor(
    readonly options: LayerOptions,
    readonly dropout: number,
    /** Dᵀ [d, rank] */
    readonly block: Parameter,
  ) {
    this.parameters = [block]
    this.#runs = { kind: 'tile', wrap: false, width: options.layer.inFeatures, side: block.shape[1]! }
  }

  forward(input: LinearInput, scale: number, into: Destination): Tensor {
    const { layer, adapter } = this.options
    const seen = input.dropped(this.dropout, layer.name, adapter)
    const z = seen.derive(`miss ${this.#runs.side}`, () => groupSum(seen.x, this.#runs))
    return factor(z, this.block, scale, into)
  }

  asWeightUpdate(input: LinearInput, scale: number): LayerUpdate | null {
    return input.drops(this.dropout) ? null : this.weightUpdate(scale)
  }

  weightUpdate(scale: number): LayerUpdate {
    return {
      parameters: this.parameters,
      addTo: (rows) => this.#addTo(rows, scale),
      backward: (dY, x, [dBlock]) =>
        scope(() => {
          const z = Tensor.empty([x.shape[0]!, this.#runs.side], { device: x.device, dtype: x.dtype as FloatDType })
          native.groupSum(this.#runs, x.native, z.native, false)
          dBlock!.write((target, add) => native.matmul(dY.native, true, z.native, false, target.native, scale, add))
        }),
    }
  }

  mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void {
    scope(() => {
      const delta = Tensor.zeros(weight.shape, { device: weight.device })
      this.#addTo(delta, scale)
      native.add(delta.native, weight.native, 1)
      native.countNonFinite(weight.native, nonFinite.native, true)
    })
  }

  describe(): { rank: number } {
    return { rank: this.#runs.side }
  }

  dispose(): void {
    this.block.dispose()
  }

  #addTo(rows: Tensor, scale: number): void {
    native.groupSpread(this.#runs, this.block.as('float32', scale).native, rows.native, true)
  }
}

const layerOf = (config: MissConfig, options: LayerOptions, block: Tensor): MissLayer =>
  new MissLayer(options, config.dropout, new Parameter(`${options.layer.name}.${suffix}`, block))

function requireRuns(rank: number, { name, inFeatures }: LayerFacts): number {
  if (rank <= inFeatures) return rank
  throw new UsageError(
    'invalid-rank',
    `Rank ${rank} is more than the ${inFeatures} inputs of ${name}: miss cannot share it.`,
  )
}

export const missMethod: AdapterMethod<MissConfig> = {
  name: 'miss',
  suffixes: [suffix],

  create(config, options) {
    const { layer, device } = options
    return layerOf(config, options, Tensor.zeros([layer.outFeatures, requireRuns(config.rank, layer)], { device }))
  },

  countParameters: ({ rank }, { outFeatures }) => rank * outFeatures,

  read(config, options, tensor) {
    const { layer, device } = options
    const { rank } = config
    const values = requireShape(tensor(suffix), suffix, [rank, layer.outFeatures], layer, rank)
    const block = transposed(values, rank, layer.outFeatures)
    return layerOf(config, options, Tensor.from(block, [layer.outFeatures, rank], { device }))
  },

  tensors: (layer) => [asTransposed(suffix, (layer as MissLayer).block)],

  fromPeft(json, source, common) {
    if (json.peft_type !== 'MISS') return null
    if (json.init_weights === 'bat' || json.init_weights === 'mini') {
      throw new UsageError(
        'unsupported-option',
        `${source} has init_weights ${json.init_weights}, another method of PEFT's MISS, which is not available.`,
      )
    }
    return miss({ ...common, dropout: dropoutFrom(json, 'miss_dropout', source) })
  },

  toPeft: ({ dropout }) => ({
    bias: 'none',
    init_weights: true,
    mini_r: 1,
    miss_dropout: dropout,
    peft_type: 'MISS',
    rank_pattern: undefined,
  }),
}
