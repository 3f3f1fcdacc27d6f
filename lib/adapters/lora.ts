import { InputError, UsageError } from '../errors.js'
import { type FloatDType, native } from '../native.js'
import type { LayerAdapter, LayerUpdate } from '../nn/layer-adapter.js'
import type { LinearInput } from '../nn/linear-input.js'
import { randomStream } from '../random.js'
import type { Destination } from '../tensor/destination.js'
import { factor } from '../tensor/operations/linear.js'
import { Parameter } from '../tensor/parameter.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, LayerOptions } from './adapter.js'
import { patternValue, rankOf, requireRank } from './patterns.js'

export interface LoraConfig extends AdapterConfigBase {
  readonly method: 'lora'
  /** ΔW = alpha / rank · B A. */
  readonly alpha: number
  readonly alphaPattern: Readonly<Record<string, number>>
}

/** LoRA (arXiv 2106.09685): ΔW = alpha / rank · B A with A [rank, k] and B [d, rank]. Alpha defaults to 2 · rank. */
export function lora(options: Partial<Omit<LoraConfig, 'method'>> = {}): LoraConfig {
  const rank = requireRank(options.rank ?? 8)
  return {
    method: 'lora',
    rank,
    alpha: options.alpha ?? 2 * rank,
    targetModules: options.targetModules ?? 'all-linear',
    dropout: options.dropout ?? 0,
    rankPattern: options.rankPattern ?? {},
    modulesToSave: options.modulesToSave ?? [],
    alphaPattern: options.alphaPattern ?? {},
  }
}

export class LoraLayer implements LayerAdapter {
  readonly parameters: readonly Parameter[]

  constructor(
    readonly options: LayerOptions,
    readonly dropout: number,
    readonly scale: number,
    /** [rank, k] */
    readonly a: Parameter,
    /** [d, rank] */
    readonly b: Parameter,
  ) {
    this.parameters = [a, b]
  }

  forward(input: LinearInput, scale: number, into: Destination): Tensor {
    const { layer, adapter } = this.options
    const seen = input.dropped(this.dropout, layer.name, adapter)
    return factor(factor(seen.x, this.a), this.b, scale * this.scale, into)
  }

  asWeightUpdate(input: LinearInput, scale: number): LayerUpdate | null {
    if (input.drops(this.dropout)) return null
    const { a, b } = this
    const total = scale * this.scale
    return {
      parameters: [a, b],
      addTo: (rows) => native.matmul(b.native, false, a.native, false, rows.native, total, true),
      backward: (dY, x, [dA, dB]) =>
        scope(() => {
          const dtype = x.dtype as FloatDType
          const rankWide = () => Tensor.empty([x.shape[0]!, a.shape[0]!], x)
          const [z, dZ] = [rankWide(), rankWide()]
          native.matmul(x.native, false, a.as(dtype).native, true, z.native, 1, false)
          native.matmul(dY.native, false, b.as(dtype).native, false, dZ.native, total, false)
          dA!.write((target, add) => native.matmul(dZ.native, true, x.native, false, target.native, 1, add))
          dB!.write((target, add) => native.matmul(dY.native, true, z.native, false, target.native, total, add))
        }),
    }
  }

  mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void {
    scope(() => {
      const { device, shape } = weight
      const delta = Tensor.empty(shape, { device })
      native.matmul(this.b.native, false, this.a.native, false, delta.native, scale * this.scale, false)
      native.add(delta.native, weight.native, 1)
      native.countNonFinite(weight.native, nonFinite.native, true)
    })
  }

  describe(): { rank: number } {
    return { rank: this.a.shape[0]! }
  }

  dispose(): void {
    this.a.dispose()
    this.b.dispose()
  }
}

const scaleOf = (config: LoraConfig, layer: LayerFacts): number =>
  (patternValue(config.alphaPattern, layer.name) ?? config.alpha) / rankOf(config, layer)

function layerOf(config: LoraConfig, options: LayerOptions, a: Tensor, b: Tensor): LoraLayer {
  const { layer } = options
  const parameter = (name: string, values: Tensor) => new Parameter(`${layer.name}.${name}`, values)
  return new LoraLayer(options, config.dropout, scaleOf(config, layer), parameter('lora_A', a), parameter('lora_B', b))
}

export const loraMethod: AdapterMethod<LoraConfig> = {
  name: 'lora',

  // PEFT's initialisation: A by Kaiming's uniform rule with a = √5, which is U(-1/√k, 1/√k); B is zero.
  create(config, options, seed) {
    const { device, layer } = options
    const rank = rankOf(config, layer)
    const bound = 1 / Math.sqrt(layer.inFeatures)
    const random = randomStream(seed, 'init', `${layer.name}.lora_A`)
    const values = Float32Array.from({ length: rank * layer.inFeatures }, () => (2 * random.uniform() - 1) * bound)
    const a = Tensor.from(values, [rank, layer.inFeatures], { device })
    return layerOf(config, options, a, Tensor.zeros([layer.outFeatures, rank], { device }))
  },

  countParameters: (config, layer) => rankOf(config, layer) * (layer.inFeatures + layer.outFeatures),

  read(config, options, tensor) {
    const { layer, device } = options
    const rank = rankOf(config, layer)
    const load = (suffix: string, shape: [number, number]): Tensor => {
      const stored = tensor(suffix)
      if (!stored) throw new InputError('unfit-adapter', `The adapter has no ${suffix} for ${layer.name}.`)
      if (stored.shape.join() !== shape.join()) {
        throw new UsageError(
          'unfit-adapter',
          `${stored.name} is [${stored.shape.join(', ')}], but rank ${rank} for ` +
            `${layer.inFeatures} → ${layer.outFeatures} needs [${shape.join(', ')}].`,
        )
      }
      return Tensor.from(stored.values, shape, { device })
    }
    const a = load('lora_A.weight', [rank, layer.inFeatures])
    return layerOf(config, options, a, load('lora_B.weight', [layer.outFeatures, rank]))
  },

  tensors(layer) {
    const { a, b } = layer as LoraLayer
    return [
      { suffix: 'lora_A.weight', tensor: a },
      { suffix: 'lora_B.weight', tensor: b },
    ]
  },

  fromPeft(json, source) {
    if (json.peft_type !== 'LORA' || json.use_mora === true) return null
    for (const option of ['use_dora', 'use_rslora']) {
      if (json[option] === true)
        throw new UsageError('unsupported-option', `${source} has ${option}, which is not available yet.`)
    }
    const alpha = json.lora_alpha
    if (typeof alpha !== 'number' || !(alpha > 0)) {
      throw new InputError(
        'malformed-file',
        `${source}: expected a positive number for lora_alpha but found ${JSON.stringify(alpha)}.`,
      )
    }
    return { ...lora(), alpha, alphaPattern: (json.alpha_pattern ?? {}) as Record<string, number> }
  },

  toPeft: ({ alpha, alphaPattern }) => ({ lora_alpha: alpha, alpha_pattern: alphaPattern, use_mora: false }),
}
