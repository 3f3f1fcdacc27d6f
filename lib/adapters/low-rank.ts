/** What LoRA and its variants share: configuration, initial values and files. A variant says in what it differs. */
import { InputError, UsageError } from '../errors.js'
import type { LayerAdapter, LowRankFactors } from '../nn/layer-adapter.js'
import { LowRankSchema } from '../options/adapter-options.js'
import { type RandomStream, randomStream } from '../random.js'
import { Parameter } from '../tensor/parameter.js'
import { Tensor } from '../tensor/tensor.js'
import {
  type AdapterConfigBase,
  type AdapterMethod,
  asStored,
  asTransposed,
  type LayerFacts,
  type LayerOptions,
  type StoredTensor,
  type TensorToStore,
  transposed,
} from './adapter.js'
import { checkedConfig } from './adapter-config.js'
import { loraMethodOf, readLora, writeLora } from './lora-files.js'
import { LoraLayer } from './lora-layer.js'
import { patternValue, rankOf } from './patterns.js'

export interface LowRankConfig extends AdapterConfigBase {
  /** LoRA's scale is alpha / rank. */
  readonly alpha: number
  /** Alphas of layers, by patterns as in `rankPattern`. */
  readonly alphaPattern: Readonly<Record<string, number>>
}

export type LowRankOptions = Partial<Omit<LowRankConfig, 'method'>>

/** Alpha defaults to 2 · rank. */
export function lowRankConfig<const M extends string>(method: M, options: LowRankOptions) {
  const config = checkedConfig(LowRankSchema, options)
  const { alpha = 2 * config.rank, alphaPattern = {} } = config
  return { ...config, method, alpha, alphaPattern } satisfies LowRankConfig
}

/** A LoRA beside one layer. */
export interface FactorsOfLayer extends LowRankFactors {
  readonly layer: LayerFacts
}

/** A layer of two factors. */
export interface LowRankLayer extends LayerAdapter {
  readonly options: LayerOptions
  readonly a: Parameter
  readonly b: Parameter
}

/** Where a layer's further tensors come from: a file, or the weight beside which it is made. */
export type FurtherTensors = { stored: (suffix: string) => StoredTensor } | { weight: Tensor }

export interface LowRankVariant<C extends LowRankConfig> {
  readonly name: C['method']
  /** The method's own function of options. */
  config(options: LowRankOptions): C
  /** What multiplies B A; alpha / rank unless given. */
  scale?(alpha: number, rank: number): number
  /** First values of A [rank, k]; Kaiming's unless given. */
  initialA?(rank: number, layer: LayerFacts, random: RandomStream): Float32Array
  /** Before a layer is made of them: what is frozen, what has a learning rate of its own. */
  prepare?(a: Parameter, b: Parameter, config: C): void
  layer?(
    config: C,
    options: LayerOptions,
    scale: number,
    a: Parameter,
    b: Parameter,
    further: FurtherTensors,
  ): LowRankLayer
  /** Whether it has a form for the embeddings. */
  embeddings?: boolean
  /** Tensors beside A and B. */
  further?: { suffixes: readonly string[]; tensors(layer: LowRankLayer): TensorToStore[] }
  countParameters?(rank: number, layer: LayerFacts): number
  /** The method's own entries of `adapter_config.json`. */
  fromPeft?(json: Readonly<Record<string, unknown>>): Partial<C>
  toPeft?(config: C): Record<string, unknown>
}

/** PEFT's initialisation, Kaiming's uniform rule with a = √5: U(-1/√k, 1/√k). */
export function kaimingUniform(rank: number, { inFeatures }: LayerFacts, random: RandomStream): Float32Array {
  const bound = 1 / Math.sqrt(inFeatures)
  return Float32Array.from({ length: rank * inFeatures }, () => (2 * random.uniform() - 1) * bound)
}

/** PEFT's start of the factor with rows of an embedding's length; the other is zero. */
function normalRows(rank: number, { inFeatures }: LayerFacts, random: RandomStream): Float32Array {
  return Float32Array.from({ length: rank * inFeatures }, () => random.normal())
}

/** PEFT's names of the table's factors B [V, rank] and A [rank, D], which lie transposed in files. */
const embeddingSuffixes = ['lora_embedding_A', 'lora_embedding_B'] as const

/** What to store of a layer that is given by its factors. */
export function storedFactors({ layer, rank, a, b }: FactorsOfLayer): TensorToStore[] {
  const { inFeatures, outFeatures, role } = layer
  if (role !== 'embeddings') {
    return [
      { suffix: 'lora_A.weight', shape: [rank, inFeatures], values: a },
      { suffix: 'lora_B.weight', shape: [outFeatures, rank], values: b },
    ]
  }
  const [ofB, ofA] = embeddingSuffixes
  return [
    { suffix: ofB, shape: [rank, outFeatures], values: async () => transposed(await b(), outFeatures, rank) },
    { suffix: ofA, shape: [inFeatures, rank], values: async () => transposed(await a(), rank, inFeatures) },
  ]
}

export function alphaOf(config: LowRankConfig, layer: LayerFacts): number {
  return patternValue(config.alphaPattern, layer.name) ?? config.alpha
}

/** The values of a stored tensor; throws an error with both shapes unless it has this one. */
export function requireShape(
  stored: StoredTensor | null,
  suffix: string,
  shape: readonly number[],
  layer: LayerFacts,
  rank: number,
): Float32Array {
  if (!stored) throw new InputError('unfit-adapter', `The adapter has no ${suffix} for ${layer.name}.`)
  if (stored.shape.join() === shape.join()) return stored.values
  throw new UsageError(
    'unfit-adapter',
    `${stored.name} is [${stored.shape.join(', ')}], but rank ${rank} for ` +
      `${layer.inFeatures} → ${layer.outFeatures} needs [${shape.join(', ')}].`,
  )
}

export function lowRankMethod<C extends LowRankConfig>(variant: LowRankVariant<C>): AdapterMethod<C> {
  const { scale = (alpha: number, rank: number) => alpha / rank, initialA = kaimingUniform, further } = variant

  const layerOf = (config: C, options: LayerOptions, a: Tensor, b: Tensor, more: FurtherTensors): LowRankLayer => {
    const { layer } = options
    const parameter = (name: string, values: Tensor) => new Parameter(`${layer.name}.${name}`, values)
    const [trainedA, trainedB] = [parameter('lora_A', a), parameter('lora_B', b)]
    variant.prepare?.(trainedA, trainedB, config)
    const total = scale(alphaOf(config, layer), rankOf(config, layer))
    return variant.layer
      ? variant.layer(config, options, total, trainedA, trainedB, more)
      : new LoraLayer(options, config.dropout, total, trainedA, trainedB)
  }

  return {
    name: variant.name,
    embeddings: variant.embeddings,
    suffixes: ['lora_A.weight', 'lora_B.weight', ...embeddingSuffixes, ...(further?.suffixes ?? [])],

    create(config, options, seed, weight) {
      const { device, layer } = options
      const rank = rankOf(config, layer)
      const first = layer.role === 'embeddings' ? normalRows : initialA
      const values = first(rank, layer, randomStream(seed, 'init', `${layer.name}.lora_A`))
      const a = Tensor.from(values, [rank, layer.inFeatures], { device })
      return layerOf(config, options, a, Tensor.zeros([layer.outFeatures, rank], { device }), { weight })
    },

    countParameters(config, layer) {
      const rank = rankOf(config, layer)
      return variant.countParameters?.(rank, layer) ?? rank * (layer.inFeatures + layer.outFeatures)
    },

    read(config, options, tensor) {
      const { layer, device } = options
      const rank = rankOf(config, layer)
      const load = (suffix: string, shape: [number, number]): Tensor =>
        Tensor.from(requireShape(tensor(suffix), suffix, shape, layer, rank), shape, { device })
      const turned = (suffix: string, [rows, columns]: [number, number]): Tensor => {
        const values = requireShape(tensor(suffix), suffix, [columns, rows], layer, rank)
        return Tensor.from(transposed(values, columns, rows), [rows, columns], { device })
      }
      const [ofA, ofB] =
        layer.role === 'embeddings' ? embeddingSuffixes.toReversed() : ['lora_A.weight', 'lora_B.weight']
      const read = layer.role === 'embeddings' ? turned : load
      const a = read(ofA!, [rank, layer.inFeatures])
      const b = read(ofB!, [layer.outFeatures, rank])
      const stored = (suffix: string): StoredTensor => {
        const found = tensor(suffix)
        if (found) return found
        throw new InputError('unfit-adapter', `The adapter has no ${suffix} for ${layer.name}.`)
      }
      return layerOf(config, options, a, b, { stored })
    },

    tensors(layer) {
      const own = layer as LowRankLayer
      if (own.options.layer.role === 'embeddings') {
        const [ofB, ofA] = embeddingSuffixes
        return [asTransposed(ofB, own.b), asTransposed(ofA, own.a)]
      }
      const factors = [asStored('lora_A.weight', own.a), asStored('lora_B.weight', own.b)]
      return [...factors, ...(further?.tensors(own) ?? [])]
    },

    fromPeft(json, source, common) {
      if (loraMethodOf(json, source) !== variant.name) return null
      return variant.config({ ...common, ...readLora(json, source), ...variant.fromPeft?.(json) })
    },

    toPeft: (config) => ({
      ...writeLora(config),
      lora_alpha: config.alpha,
      alpha_pattern: config.alphaPattern,
      use_mora: false,
      use_rslora: false,
      use_dora: false,
      ...variant.toPeft?.(config),
    }),
  }
}
