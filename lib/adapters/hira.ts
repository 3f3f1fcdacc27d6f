import { native } from '../native.js'
import type { LayerUpdate } from '../nn/layer-adapter.js'
import { AdapterSchema } from '../options/adapter-options.js'
import { randomStream } from '../random.js'
import { Parameter } from '../tensor/parameter.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { type AdapterConfigBase, type AdapterMethod, asStored, type LayerOptions } from './adapter.js'
import { checkedConfig } from './adapter-config.js'
import { kaimingUniform, requireShape } from './low-rank.js'
import { rankOf } from './patterns.js'
import { dropoutFrom } from './peft-entries.js'
import { WeightFormLayer } from './weight-form-layer.js'

export interface HiraConfig extends AdapterConfigBase {
  readonly method: 'hira'
}

/** HiRA (ICLR 2025, openreview.net/forum?id=TwJrTz9cRS): ΔW = W ⊙ (B A) with A [rank, k] and B [d, rank]. */
export function hira(options: Partial<Omit<HiraConfig, 'method'>> = {}): HiraConfig {
  return { method: 'hira', ...checkedConfig(AdapterSchema, options) }
}

export class HiraLayer extends WeightFormLayer {
  constructor(
    options: LayerOptions,
    dropout: number,
    /** [rank, k] */
    readonly a: Parameter,
    /** [d, rank] */
    readonly b: Parameter,
  ) {
    super(options, dropout, [a, b])
  }

  weightUpdate(scale: number): LayerUpdate {
    const { a, b } = this
    return {
      parameters: this.parameters,
      addTo: (rows, weight) =>
        scope(() => {
          const product = Tensor.empty(weight.shape, { device: weight.device })
          native.matmul(b.native, false, a.native, false, product.native, 1, false)
          native.multiply(weight.native, product.native, rows.native, scale, true)
        }),
      backward: (dY, x, [dA, dB], weight) =>
        scope(() => {
          const dProduct = Tensor.empty(weight.shape, { device: weight.device })
          native.matmul(dY.native, true, x.native, false, dProduct.native, 1, false)
          native.multiply(weight.native, dProduct.native, dProduct.native, scale, false)
          dA!.write((target, add) => native.matmul(b.native, true, dProduct.native, false, target.native, 1, add))
          dB!.write((target, add) => native.matmul(dProduct.native, false, a.native, true, target.native, 1, add))
        }),
    }
  }

  describe(): { rank: number } {
    return { rank: this.a.shape[0]! }
  }
}

function layerOf(config: HiraConfig, options: LayerOptions, a: Tensor, b: Tensor): HiraLayer {
  const parameter = (name: string, values: Tensor) => new Parameter(`${options.layer.name}.${name}`, values)
  return new HiraLayer(options, config.dropout, parameter('hira_A', a), parameter('hira_B', b))
}

export const hiraMethod: AdapterMethod<HiraConfig> = {
  name: 'hira',
  suffixes: ['hira_A', 'hira_B'],

  // PEFT's initialisation: A by Kaiming's rule, B is zero.
  create(config, options, seed) {
    const { device, layer } = options
    const rank = rankOf(config, layer)
    const values = kaimingUniform(rank, layer, randomStream(seed, 'init', `${layer.name}.hira_A`))
    const a = Tensor.from(values, [rank, layer.inFeatures], { device })
    return layerOf(config, options, a, Tensor.zeros([layer.outFeatures, rank], { device }))
  },

  countParameters: (config, layer) => rankOf(config, layer) * (layer.inFeatures + layer.outFeatures),

  read(config, options, tensor) {
    const { layer, device } = options
    const rank = rankOf(config, layer)
    const load = (suffix: string, shape: [number, number]): Tensor =>
      Tensor.from(requireShape(tensor(suffix), suffix, shape, layer, rank), shape, { device })
    return layerOf(config, options, load('hira_A', [rank, layer.inFeatures]), load('hira_B', [layer.outFeatures, rank]))
  },

  tensors(layer) {
    const { a, b } = layer as HiraLayer
    return [asStored('hira_A', a), asStored('hira_B', b)]
  },

  fromPeft(json, source, common) {
    if (json.peft_type !== 'HIRA') return null
    return hira({ ...common, dropout: dropoutFrom(json, 'hira_dropout', source) })
  },

  toPeft: ({ dropout }) => ({
    fan_in_fan_out: false,
    hira_dropout: dropout,
    init_weights: true,
    peft_type: 'HIRA',
  }),
}
