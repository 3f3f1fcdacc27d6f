import { elementsOf, native } from '../../native.js'
import type { LayerUpdate } from '../../nn/layer-adapter.js'
import type { Parameter } from '../../tensor/parameter.js'
import { keep, scope } from '../../tensor/scope.js'
import { type GradientTarget, Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, LayerOptions, TensorStart } from '../contract/adapter.js'
import { checkedConfig, requireOneRank } from '../contract/adapter-config.js'
import { AdapterLayer, weightGradient } from '../contract/adapter-layer.js'
import { commonEntries, dropoutFrom, positiveFrom } from '../contract/peft-entries.js'
import { lowRankFields, rankOfProduct, uniformValues } from './low-rank.js'

export interface RandloraConfig extends AdapterConfigBase {
  readonly method: 'randlora'
  /** The scale is alpha / rank. */
  readonly alpha: number
}

const fields = { alpha: lowRankFields.alpha }

/**
 * RandLoRA (arXiv 2502.00987): ΔW is a sum of random products of that rank, one pair of matrices for the whole model, weighted
 * by trained diagonals; enough of them that ΔW has full rank. The higher the rank, the fewer are its values. Alpha
 * defaults to 2 · rank.
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

/** The largest inputs and outputs of all layers, which need not be those of one. */
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
 * With p = (k, b) a row of Ā [r n, low] is λ[k, b] A[k] ⊙ γ[b], and C [high, r n] are the first columns of B as they lie, so
 * that each row meets a column of another basis. C Ā is ΔW, or its transpose where there are fewer outputs than inputs.
 */
export class RandloraLayer extends AdapterLayer {
  /** [r n] int32: the row of A, and that of γ, that each row of Ā is made of. */
  readonly #ofA: Tensor
  readonly #ofGamma: Tensor
  /** [low] */
  readonly #ones: Tensor

  constructor(
    options: LayerOptions,
    dropout: number,
    readonly scale: number,
    readonly own: Tensors,
  ) {
    const { lambda, gamma, a, b } = own
    const { device } = options
    const [rank, bases] = lambda.shape as [number, number]
    const indices = (of: (p: number) => number): Tensor =>
      keep(
        Tensor.from(
          Int32Array.from({ length: rank * bases }, (_, p) => of(p)),
          [rank * bases],
          { device, dtype: 'int32' },
        ),
      )
    const [ofA, ofGamma] = [indices((p) => Math.floor(p / bases)), indices((p) => p % bases)]
    const ones = keep(Tensor.empty([gamma.shape[1]!], { device }))
    native.fill(ones.native, 1)
    super(options, dropout, [lambda, gamma, a, b, ofA, ofGamma, ones])
    this.#ofA = ofA
    this.#ofGamma = ofGamma
    this.#ones = ones
  }

  weightUpdate(scale: number): LayerUpdate {
    const total = scale * this.scale
    return {
      parameters: this.parameters,
      readsWeight: false,
      addTo: (rows) =>
        scope(() => {
          const [columns, weighted] = [this.#columns(), this.#scaled(this.#products())]
          if (this.#isTurned)
            native.matmul({
              a: weighted.native,
              transposeA: true,
              b: columns.native,
              transposeB: true,
              c: rows.native,
              alpha: total,
              accumulate: true,
            })
          else native.matmul({ a: columns.native, b: weighted.native, c: rows.native, alpha: total, accumulate: true })
        }),
      backward: (dY, x, targets) => scope(() => this.#backward(weightGradient(dY, x), targets, total)),
    }
  }

  #backward(gradient: Tensor, [dLambda, dGamma]: readonly GradientTarget[], scale: number): void {
    const { lambda, gamma } = this.own
    const [rank, bases] = lambda.shape as [number, number]
    const low = gamma.shape[1]!
    const dRows = Tensor.empty([rank * bases, low], gamma)
    native.matmul({
      a: this.#columns().native,
      transposeA: true,
      b: gradient.native,
      transposeB: this.#isTurned,
      c: dRows.native,
      alpha: scale,
    })
    dLambda!.write((target, add) => {
      const products = this.#products()
      native.multiply(products.native, dRows.native, products.native, 1, false)
      const ones = this.#ones.view([low, 1])
      native.matmul({ a: products.native, b: ones.native, c: target.view([rank * bases, 1]).native, accumulate: add })
    })
    dGamma!.write((target, add) => {
      const weighted = this.#scaled(this.#rowsOfA())
      native.multiply(weighted.native, dRows.native, weighted.native, 1, false)
      native.columnSums(weighted.view([rank, bases * low]).native, target.view([bases * low]).native, add)
    })
  }

  get #isTurned(): boolean {
    const { inFeatures, outFeatures } = this.options.layer
    return inFeatures > outFeatures
  }

  /** C [high, r n], a view of B. */
  #columns(): Tensor {
    const { b, lambda } = this.own
    return b.view([sizesOf(this.options.layer).high, lambda.elements], [b.strides[0]!, 1])
  }

  /** A[k] for every p [r n, low] */
  #rowsOfA(): Tensor {
    const { a, gamma } = this.own
    return gathered(a.view([a.shape[0]!, gamma.shape[1]!], [a.shape[2]!, 1]), this.#ofA)
  }

  /** A[k] ⊙ γ[b] for every p [r n, low] */
  #products(): Tensor {
    const [rows, weights] = [this.#rowsOfA(), gathered(this.own.gamma, this.#ofGamma)]
    native.multiply(rows.native, weights.native, rows.native, 1, false)
    return rows
  }

  /** Rows times λ. */
  #scaled(rows: Tensor): Tensor {
    const { lambda } = this.own
    const result = Tensor.empty(rows.shape, rows)
    native.rmsNormApply(rows.native, this.#ones.native, 0, lambda.view([lambda.elements]).native, result.native)
    return result
  }
}

function gathered(matrix: Tensor, rows: Tensor): Tensor {
  const result = Tensor.empty([rows.shape[0]!, matrix.shape[1]!], matrix)
  native.gatherRows(matrix.native, rows.native, result.native)
  return result
}

/** PEFT's start of the bases: uniform numbers of Kaiming's rule, divided by their deviation; which bound is then no matter. */
function uniformOfDeviationOne({ shape, random }: TensorStart<RandloraConfig>): Float32Array {
  return uniformValues(elementsOf(shape), Math.sqrt(3), random)
}

const basesOf = (rank: number, low: number): number => Math.ceil(low / rank)

export const randloraMethod: AdapterMethod<RandloraConfig, typeof fields> = {
  name: 'randlora',
  options: fields,
  lacks: ['rankPattern'],
  config: randlora,
  learningRate: () => 1e-3,
  readByPeft: true,
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
    return new RandloraLayer(options, dropout, alpha / rank, { lambda, gamma, a, b })
  },

  fromPeft(json, source) {
    if (json.peft_type !== 'RANDLORA') return null
    return randlora({
      ...commonEntries(json, source),
      dropout: dropoutFrom(json, 'randlora_dropout', source),
      alpha: positiveFrom(json, 'randlora_alpha', source),
    })
  },

  toPeft: ({ dropout, alpha }) => ({
    bias: 'none',
    fan_in_fan_out: false,
    init_weights: true,
    peft_type: 'RANDLORA',
    projection_prng_key: 0,
    randlora_alpha: alpha,
    randlora_dropout: dropout,
    save_projection: true,
    sparse: false,
    very_sparse: false,
  }),
}
