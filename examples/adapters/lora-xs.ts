/**
 * A method of one's own in one file: LoRA-XS (arXiv 2405.17604) with random bases. ΔW = B M A, where A [r, k] and
 * B [d, r] are drawn and frozen, and M [r, r] alone is trained: r² values a layer, whatever its size.
 *
 * In the library this file would be lib/adapters/lora-xs.ts, and a line in lib/adapters/registry.ts.
 */
import {
  type AdapterConfigBase,
  type AdapterMethod,
  asStored,
  type LayerFacts,
  type LayerOptions,
} from '../../lib/adapters/adapter.js'
import { checkedConfig } from '../../lib/adapters/adapter-config.js'
import { requireShape } from '../../lib/adapters/low-rank.js'
import { rankOf } from '../../lib/adapters/patterns.js'
import { type FloatDType, native } from '../../lib/native.js'
import type { LayerAdapter, LayerUpdate } from '../../lib/nn/layer-adapter.js'
import type { LinearInput } from '../../lib/nn/linear-input.js'
import { AdapterSchema } from '../../lib/options/adapter-options.js'
import { randomStream } from '../../lib/random.js'
import type { Destination } from '../../lib/tensor/destination.js'
import { factor } from '../../lib/tensor/operations/linear.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { Tensor } from '../../lib/tensor/tensor.js'

export interface LoraXsConfig extends AdapterConfigBase {
  readonly method: 'lora-xs'
}

/** Options of `model.addAdapter('name', loraXs({ rank: 16 }))`: those that every method has. */
export function loraXs(options: Partial<Omit<LoraXsConfig, 'method'>> = {}): LoraXsConfig {
  return { method: 'lora-xs', ...checkedConfig(AdapterSchema, options) }
}

/** The part that sits beside one linear layer. */
class LoraXsLayer implements LayerAdapter {
  readonly parameters: readonly Parameter[]

  constructor(
    readonly options: LayerOptions,
    readonly dropout: number,
    /** [r, k], frozen */
    readonly a: Parameter,
    /** [r, r] */
    readonly m: Parameter,
    /** [d, r], frozen */
    readonly b: Parameter,
  ) {
    a.freeze()
    b.freeze()
    this.parameters = [m]
  }

  /** y += scale · B M A x: three products, recorded on the tape by `factor`. */
  forward(input: LinearInput, scale: number, into: Destination): Tensor {
    const { layer, adapter } = this.options
    const { x } = input.dropped(this.dropout, layer.name, adapter)
    return factor(factor(factor(x, this.a), this.m), this.b, scale, into)
  }

  /** Beside the weight's own product it is three thin ones, so it never joins it. */
  asWeightUpdate(): null {
    return null
  }

  /** For tables (embeddings, head), which are read as one weight W + ΔW. */
  weightUpdate(scale: number): LayerUpdate {
    const { a, m, b } = this
    return {
      parameters: this.parameters,
      addTo: (rows) => this.#addTo(rows, scale),
      backward: (dY, x, [dM]) =>
        scope(() => {
          const [z, dZ] = [0, 1].map(() => Tensor.empty([x.shape[0]!, m.shape[0]!], x)) as [Tensor, Tensor]
          const dtype = x.dtype as FloatDType
          native.matmul(x.native, false, a.as(dtype).native, true, z.native, 1, false)
          native.matmul(dY.native, false, b.as(dtype).native, false, dZ.native, scale, false)
          dM!.write((target, add) => native.matmul(dZ.native, true, z.native, false, target.native, 1, add))
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
    return { rank: this.m.shape[0]! }
  }

  dispose(): void {
    for (const parameter of [this.a, this.m, this.b]) parameter.dispose()
  }

  /** rows [d, k] += scale · B M A */
  #addTo(rows: Tensor, scale: number): void {
    scope(() => {
      const ma = Tensor.empty(this.a.shape, this.a)
      native.matmul(this.m.native, false, this.a.native, false, ma.native, 1, false)
      native.matmul(this.b.native, false, ma.native, false, rows.native, scale, true)
    })
  }
}

const SUFFIXES = ['xs_A', 'xs_M', 'xs_B'] as const

const shapesOf = (rank: number, { inFeatures, outFeatures }: LayerFacts) =>
  ({ xs_A: [rank, inFeatures], xs_M: [rank, rank], xs_B: [outFeatures, rank] }) as const

/** A layer from its three matrices. */
function layerOf(config: LoraXsConfig, options: LayerOptions, valuesOf: (suffix: string) => Float32Array): LoraXsLayer {
  const { layer, device } = options
  const shapes = shapesOf(rankOf(config, layer), layer)
  const [a, m, b] = SUFFIXES.map(
    (suffix) => new Parameter(`${layer.name}.${suffix}`, Tensor.from(valuesOf(suffix), shapes[suffix], { device })),
  ) as [Parameter, Parameter, Parameter]
  return new LoraXsLayer(options, config.dropout, a, m, b)
}

export const loraXsMethod: AdapterMethod<LoraXsConfig> = {
  name: 'lora-xs',
  suffixes: SUFFIXES,

  /** Normal numbers of variance 1 / columns for A and B, from (seed, layer) alone; M is zero, so ΔW is. */
  create(config, options, seed) {
    const { layer } = options
    const shapes = shapesOf(rankOf(config, layer), layer)
    return layerOf(config, options, (suffix) => {
      const [rows, columns] = shapes[suffix as (typeof SUFFIXES)[number]]
      const random = randomStream(seed, 'init', `${layer.name}.${suffix}`)
      const deviation = suffix === 'xs_M' ? 0 : 1 / Math.sqrt(columns)
      return Float32Array.from({ length: rows * columns }, () => deviation * random.normal())
    })
  },

  countParameters: (config, layer) => rankOf(config, layer) ** 2,

  read(config, options, tensor) {
    const { layer } = options
    const rank = rankOf(config, layer)
    const shapes = shapesOf(rank, layer)
    return layerOf(config, options, (suffix) =>
      requireShape(tensor(suffix), suffix, shapes[suffix as (typeof SUFFIXES)[number]], layer, rank),
    )
  },

  tensors(layer) {
    const { a, m, b } = layer as LoraXsLayer
    return [asStored('xs_A', a), asStored('xs_M', m), asStored('xs_B', b)]
  },

  fromPeft(json, _source, common) {
    return json.peft_type === 'LORA_XS' ? loraXs({ ...common, dropout: Number(json.xs_dropout ?? 0) }) : null
  },

  toPeft: ({ dropout }) => ({ bias: 'none', peft_type: 'LORA_XS', xs_dropout: dropout }),
}
