import { elementsOf } from '../../native/addon.js'
import { mul } from '../../tensor/operations/arithmetic.js'
import { scaleRows, weighted } from '../../tensor/operations/factors.js'
import { product } from '../../tensor/operations/products.js'
import { reshape } from '../../tensor/operations/reshaping.js'
import { broadcast } from '../../tensor/operations/shaped.js'
import type { Parameter } from '../../tensor/parameter.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, TensorStart } from '../contract/adapter.js'
import { checkedConfig, requireOneRank } from '../contract/adapter-config.js'
import { DeltaLayer } from '../contract/adapter-layer.js'
import { dropoutEntry, positiveEntry } from '../contract/peft-entries.js'
import { lowRankFields, rankOfProduct, uniformValues } from './low-rank.js'

export interface RandloraConfig extends AdapterConfigBase {
  readonly method: 'randlora'
  /** The scale is alpha / rank. */
  readonly alpha: number
}

const fields = { alpha: lowRankFields.alpha }

/**
 * RandLoRA (arXiv 2502.00987): ΔW is a sum of random products of the given rank, from one pair of matrices for the whole model,
 * weighted by trained diagonals; there are enough products that ΔW has full rank. The higher the rank, the fewer values are
 * trained. Alpha defaults to 2 · rank.
 */
export function randlora(options: Partial<Omit<RandloraConfig, 'method'>> = {}): RandloraConfig {
  requireOneRank('randlora', options)
  const config = checkedConfig(fields, options)
  return { ...config, method: 'randlora', alpha: config.alpha ?? 2 * config.rank }
}

const sizesOf = ({ inFeatures, outFeatures }: LayerFacts) => ({
  low: Math.min(inFeatures, outFeatures),
  high: Math.max(inFeatures, outFeatures),
})

/** Maximum number of inputs, and of outputs, of any layer, not necessarily of the same one. */
const largestOf = (layers: readonly LayerFacts[]) =>
  sizesOf({
    name: '',
    inFeatures: Math.max(...layers.map(({ inFeatures }) => inFeatures)),
    outFeatures: Math.max(...layers.map(({ outFeatures }) => outFeatures)),
  })

interface Tensors {
  /** λ [r, n] */
  readonly lambda: Parameter
  /** γ [n, low] */
  readonly gamma: Parameter
  /** [r, 1, LOW], frozen */
  readonly a: Parameter
  /** [HIGH, N, r], frozen */
  readonly b: Parameter
}

/**
 * Returns ΔW. For p = (k, b), row p of Ā [r n, low] is λ[k, b] A[k] ⊙ γ[b], and C [high, r n] are the first columns of B as
 * stored, so that each row meets a column of another basis. C Ā is ΔW, or its transpose if there are fewer outputs than inputs.
 */
function deltaOf({ lambda, gamma, a, b }: Tensors, scale: number, layer: LayerFacts): Tensor {
  const { low, high } = sizesOf(layer)
  const [rank, bases] = lambda.shape as [number, number]
  const columns = b.view([high, rank * bases], [b.strides[0]!, 1])
  const rows = scope(() => {
    const repeated = Tensor.empty([rank, bases, low], a)
    repeated.copyFrom(a.view([rank, bases, low], [a.strides[0]!, 0, 1]))
    const wide = [rank, bases * low]
    const products = weighted(broadcast(reshape(gamma, [bases * low]), wide), repeated.view(wide))
    return scaleRows(reshape(products, [rank * bases, low]), reshape(mul(lambda, scale), [rank * bases]))
  })
  return layer.inFeatures > layer.outFeatures
    ? product(rows, columns, { transposeA: true, transposeB: true })
    : product(columns, rows)
}

/** PEFT's initial bases: uniform numbers by Kaiming's rule, divided by their deviation, so that its bound does not matter. */
function uniformOfDeviationOne({ shape, random }: TensorStart<RandloraConfig>): Float32Array {
  return uniformValues(elementsOf(shape), Math.sqrt(3), random)
}

const basesOf = (rank: number, low: number): number => Math.ceil(low / rank)

export const randloraMethod: AdapterMethod<RandloraConfig, typeof fields> = {
  name: 'randlora',
  rankMeaning: 'the rank of their random matrices',
  options: fields,
  lacks: ['rankPattern'],
  config: randlora,
  learningRate: () => 1e-3,
  readByPeft: true,
  describe: ({ alpha }) => ({ alpha }),
  rankLimit: (_, layer) => rankOfProduct(layer),

  tensors: {
    randlora_lambda: { shape: ({ rank }, layer) => [rank, basesOf(rank, sizesOf(layer).low)] },
    randlora_gamma: {
      shape: ({ rank }, layer) => [basesOf(rank, sizesOf(layer).low), sizesOf(layer).low],
      initial: ({ shape }) => new Float32Array(shape[0]! * shape[1]!).fill(1 / Math.max(...shape)),
    },
    randlora_A: {
      shape: ({ rank }, _, layers) => [rank, 1, largestOf(layers).low],
      shared: true,
      initial: uniformOfDeviationOne,
    },
    randlora_B: {
      shape: ({ rank }, _, layers) => [largestOf(layers).high, basesOf(rank, largestOf(layers).low), rank],
      shared: true,
      initial: uniformOfDeviationOne,
    },
  },

  layer({ dropout, alpha, rank }, options, tensors) {
    const [lambda, gamma] = [tensors.parameter('randlora_lambda'), tensors.parameter('randlora_gamma')]
    const [a, b] = [tensors.parameter('randlora_A'), tensors.parameter('randlora_B')]
    return new DeltaLayer(options, dropout, [lambda, gamma, a, b], {
      delta: () => deltaOf({ lambda, gamma, a, b }, alpha / rank, options.layer),
    })
  },

  peft: {
    peft_type: 'RANDLORA',
    bias: 'none',
    fan_in_fan_out: false,
    init_weights: true,
    projection_prng_key: 0,
    randlora_alpha: positiveEntry('alpha'),
    randlora_dropout: dropoutEntry,
    save_projection: true,
    sparse: false,
    very_sparse: false,
  },
}
