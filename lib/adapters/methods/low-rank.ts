/** The common parts of LoRA and its variants: configuration, initial values and files. A variant defines its differences. */

import type { RandomStream } from '../../common/random.js'
import { native } from '../../native/addon.js'
import type { LayerAdapter, LowRankFactors } from '../../nn/layer-adapter.js'
import { numbersByPattern, optionalReal } from '../../schema/option.js'
import type { Parameter } from '../../tensor/parameter.js'
import { transposed } from '../../tensor/transpose.js'
import type {
  AdapterConfigBase,
  AdapterMethod,
  LayerFacts,
  LayerMemory,
  LayerOptions,
  LayerTensors,
  OptionFields,
  PeftTable,
  RankLimit,
  TensorDeclaration,
  TensorStart,
  TensorToStore,
} from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group } from '../contract/adapter-config.js'
import { patternValue, rankOf } from '../contract/patterns.js'
import { loraMethodOf, lowRankEntries } from './lora-entries.js'
import { LoraLayer } from './lora-layer.js'

export interface LowRankConfig extends AdapterConfigBase {
  /** LoRA's scale is alpha / rank. */
  readonly alpha: number
  /** Alphas by layer, with patterns as in `rankPattern`. */
  readonly alphaPattern: Readonly<Record<string, number>>
}

/** Options of `lora` and of the methods built on it; each is optional. */
export type LowRankOptions = Partial<Omit<LowRankConfig, 'method'>>

export const lowRankFields = {
  alpha: optionalReal("LoRA's scale is alpha / rank", { above: 0, defaultText: '2 * rank; of pissa rank', group }),
  alphaPattern: numbersByPattern('alphas by layer, with patterns as for ranks', { group }),
}

/** Alpha defaults to 2 · rank. */
export function lowRankConfig<const M extends string>(method: M, options: LowRankOptions) {
  const config = checkedConfig(lowRankFields, options)
  const { alpha = 2 * config.rank, alphaPattern = {} } = config
  return { ...config, method, alpha, alphaPattern } satisfies LowRankConfig
}

interface LowRankVariant<C extends LowRankConfig, Fields extends OptionFields>
  extends Pick<AdapterMethod<C, Fields>, 'rankMeaning' | 'embeddings' | 'continues'> {
  readonly name: C['method']
  readonly options: Fields
  /** Completes a configuration from options. */
  config(options: LowRankOptions): C
  readonly learningRate: number
  /** Returns the factor of B A; default alpha / rank. */
  scale?(alpha: number, rank: number): number
  /** Returns initial values of A [rank, k]; default: Kaiming's rule. */
  initialA?(start: TensorStart<C>): Float32Array
  readonly frozenA?: TensorDeclaration<C>['frozen']
  /** Returns the highest useful rank; default: that of the product B A. */
  rankLimit?(layer: LayerFacts): RankLimit
  layerMemory?(rank: number, layer: LayerFacts): Partial<LayerMemory>
  /** Returns the ratio of B's learning rate to A's. */
  ratioOfB?(config: C): number
  /** Tensors besides A and B, and the layer that uses them. */
  readonly further?: Readonly<Record<string, TensorDeclaration<C>>>
  layer?(
    config: C,
    options: LayerOptions,
    scale: number,
    factors: { a: Parameter; b: Parameter },
    tensors: LayerTensors,
  ): LayerAdapter
  /** Entries of `adapter_config.json` that override or extend the entries of all variants. */
  readonly peft?: PeftTable<C>
}

/** Draws values from U(-bound, bound). */
export function uniformValues(count: number, bound: number, random: RandomStream): Float32Array {
  const values = new Float32Array(count)
  // Drawn natively: a 7B model has tens of millions.
  native.drawUniform(values, ...random.key, random.skip(2 * count), bound)
  return values
}

/** Draws a matrix with rows of k values by PEFT's initialisation, Kaiming's uniform rule with a = √5: U(-1/√k, 1/√k). */
export function kaimingUniform({ shape, random }: { shape: readonly number[]; random: RandomStream }): Float32Array {
  const [rank, columns] = shape as [number, number]
  return uniformValues(rank * columns, 1 / Math.sqrt(columns), random)
}

/** PEFT's initial values of the factor with rows of an embedding's length; the other factor is zero. */
function normalRows({ shape, random }: TensorStart<LowRankConfig>): Float32Array {
  return new Float32Array(shape[0]! * shape[1]!).map(() => random.normal())
}

/** Shapes of A [rank, k] and B [d, rank] for a layer. */
export const factorShapes = {
  /** A, [rank, k]. */
  a: (config: AdapterConfigBase, layer: LayerFacts) => [rankOf(config, layer), layer.inFeatures],
  /** B, [d, rank]. */
  b: (config: AdapterConfigBase, layer: LayerFacts) => [layer.outFeatures, rankOf(config, layer)],
}

/** Returns the highest rank that a product B A of a layer's shape can have. */
export function rankOfProduct({ name, inFeatures, outFeatures }: LayerFacts): RankLimit {
  const most = Math.min(inFeatures, outFeatures)
  return { most, of: `that the change of ${name} (${inFeatures} → ${outFeatures}) can have` }
}

/** A matrix as a product of two factors, and all its singular values. */
interface PrincipalFactors {
  readonly rank: number
  /** A [rank, k] */
  readonly a: Float32Array
  /** B [d, rank] */
  readonly b: Float32Array
  /** All singular values of the matrix, the largest first; the first `rank` are in the product. */
  readonly singularValues: Float64Array
}

/**
 * Decomposes a matrix [d, k]: scale · B A is the best approximation of at most this rank (Eckart and Young), its part with the
 * largest singular values, whose square roots go into both factors.
 */
export async function principalFactors(
  matrix: Float32Array,
  [d, k]: readonly [d: number, k: number],
  wanted: number,
  scale = 1,
): Promise<PrincipalFactors> {
  const { s, u, v } = await native.svd(matrix, d, k, true)
  const most = s.length
  const rank = Math.min(wanted, most)
  const root = (i: number): number => Math.sqrt(s[i]! / scale)
  const a = Float32Array.from({ length: rank * k }, (_, at) => {
    const i = Math.floor(at / k)
    return root(i) * v![(at % k) * most + i]!
  })
  const b = Float32Array.from({ length: d * rank }, (_, at) => {
    const i = at % rank
    return root(i) * u![Math.floor(at / rank) * most + i]!
  })
  return { a, b, rank, singularValues: s }
}

/** PEFT's names of the embeddings' factors B [V, rank] and A [rank, D], which files store transposed. */
const embeddingNames = { b: 'lora_embedding_A', a: 'lora_embedding_B' } as const

/** Returns the tensors to store for a layer given by its factors. */
export function storedFactors(
  { inFeatures, outFeatures, role }: LayerFacts,
  { rank, a, b }: LowRankFactors,
): TensorToStore[] {
  if (role !== 'embeddings') {
    return [
      { suffix: 'lora_A.weight', shape: [rank, inFeatures], values: a },
      { suffix: 'lora_B.weight', shape: [outFeatures, rank], values: b },
    ]
  }
  const { a: ofA, b: ofB } = embeddingNames
  return [
    { suffix: ofB, shape: [rank, outFeatures], values: async () => transposed(await b(), outFeatures, rank) },
    { suffix: ofA, shape: [inFeatures, rank], values: async () => transposed(await a(), rank, inFeatures) },
  ]
}

export function alphaOf(config: LowRankConfig, layer: LayerFacts): number {
  return patternValue(config.alphaPattern, layer.name) ?? config.alpha
}

export function lowRankMethod<C extends LowRankConfig, Fields extends OptionFields = typeof lowRankFields>(
  variant: LowRankVariant<C, Fields>,
): AdapterMethod<C, Fields> {
  const { name, options, rankMeaning, embeddings, continues, frozenA, further } = variant
  const { scale = (alpha: number, rank: number) => alpha / rank, initialA = kaimingUniform } = variant
  return {
    name,
    options,
    rankMeaning,
    embeddings,
    continues,
    config: (given) => variant.config(given),
    learningRate: () => variant.learningRate,
    readByPeft: true,
    describe: ({ alpha }) => ({ alpha }),
    rankLimit: (_, layer) => (variant.rankLimit ?? rankOfProduct)(layer),
    layerMemory: (config, layer) => variant.layerMemory?.(rankOf(config, layer), layer) ?? {},

    tensors: {
      lora_A: {
        shape: factorShapes.a,
        frozen: frozenA,
        initial: (start) => (start.layer.role === 'embeddings' ? normalRows : initialA)(start),
        inFile: 'lora_A.weight',
        inFileOfEmbeddings: embeddings ? embeddingNames.a : undefined,
      },
      lora_B: {
        shape: factorShapes.b,
        learningRateRatio: variant.ratioOfB,
        inFile: 'lora_B.weight',
        inFileOfEmbeddings: embeddings ? embeddingNames.b : undefined,
      },
      ...further,
    },

    layer(config, options, tensors) {
      const factors = { a: tensors.parameter('lora_A'), b: tensors.parameter('lora_B') }
      const total = scale(alphaOf(config, options.layer), rankOf(config, options.layer))
      return variant.layer
        ? variant.layer(config, options, total, factors, tensors)
        : new LoraLayer(options, config.dropout, total, factors.a, factors.b)
    },

    isOwnFile: (json, source) => loraMethodOf(json, source) === name,
    peft: { ...(lowRankEntries as object), ...variant.peft, peft_type: 'LORA' },
  }
}
