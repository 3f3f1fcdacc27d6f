import { native } from '../../native.js'
import type { LayerUpdate, LowRankFactors } from '../../nn/layer-adapter.js'
import { numbersByPattern, optionalReal } from '../../schema/option.js'
import type { Parameter } from '../../tensor/parameter.js'
import { scope } from '../../tensor/scope.js'
import { type GradientTarget, Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'
import type { AdapterConfigBase, AdapterMethod, LayerOptions } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group } from '../contract/adapter-config.js'
import { AdapterLayer, weightGradient } from '../contract/adapter-layer.js'
import { patternValue } from '../contract/patterns.js'
import { commonEntries, dropoutFrom, numberFrom, patternsFrom } from '../contract/peft-entries.js'
import { factorShapes, kaimingUniform, rankOfProduct } from './low-rank.js'
import { limitNorms, product, rowNorms, rowProducts, scaled, whereExceeded } from './rows.js'

export interface DeloraConfig extends AdapterConfigBase {
  readonly method: 'delora'
  /** First value of λ. */
  readonly deloraLambda: number
  /** First values of λ of layers, by patterns as in `rankPattern`. */
  readonly lambdaPattern: Readonly<Record<string, number>>
}

const fields = {
  deloraLambda: optionalReal('DeLoRA: first value of the bound of a change', { above: 0, defaultText: '15', group }),
  lambdaPattern: numbersByPattern('DeLoRA: first bounds of layers, in the same way as ranks', { group }),
}

/**
 * DeLoRA (arXiv 2503.18225): ΔW = λ / rank · Σ bᵢ aᵢᵀ diag(‖W‖) / (‖aᵢ‖ ‖bᵢ‖) with the rows aᵢ of A [rank, k], the columns bᵢ
 * of B [d, rank] and the norms of W's columns: directions are trained apart from their strength λ, which bounds the change.
 */
export function delora(options: Partial<Omit<DeloraConfig, 'method'>> = {}): DeloraConfig {
  const { deloraLambda = 15, lambdaPattern = {}, ...config } = checkedConfig(fields, options)
  return { ...config, method: 'delora', deloraLambda, lambdaPattern }
}

/** Norms count as at least this, as in PEFT. */
const LEAST_NORM = 1e-4

interface Tensors {
  /** [rank, k] */
  readonly a: Parameter
  /** [d, rank] */
  readonly b: Parameter
  /** [1] */
  readonly lambda: Parameter
  /** Norms of W's columns [k], frozen. */
  readonly norms: Parameter
}

/** What the factors make of each rank's direction, [rank] each. */
interface Directions {
  /** 1 / (rank · ‖aᵢ‖ · ‖bᵢ‖) */
  readonly unit: Tensor
  /** λ times that. */
  readonly strength: Tensor
}

export class DeloraLayer extends AdapterLayer {
  constructor(
    options: LayerOptions,
    dropout: number,
    readonly own: Tensors,
  ) {
    const { a, b, lambda, norms } = own
    super(options, dropout, [a, b, lambda, norms])
  }

  weightUpdate(scale: number): LayerUpdate {
    const { b } = this.own
    return {
      parameters: this.parameters,
      readsWeight: false,
      addTo: (rows) =>
        scope(() =>
          native.matmul({ a: b.native, b: this.#scaledA().native, c: rows.native, alpha: scale, accumulate: true }),
        ),
      backward: (dY, x, targets) => scope(() => this.#backward(weightGradient(dY, x), targets, scale)),
    }
  }

  override factors(): LowRankFactors {
    const { a, b } = this.own
    return {
      rank: a.shape[0]!,
      scale: 1,
      a: async () => {
        using values = scope(() => this.#scaledA())
        return (await values.data()) as Float32Array
      },
      b: async () => (await b.data()) as Float32Array,
    }
  }

  /** diag(λ / (rank ‖aᵢ‖ ‖bᵢ‖)) A diag(‖W‖) [rank, k], which B is multiplied with. */
  #scaledA(): Tensor {
    return scaled(this.own.a, this.#directions().strength, this.own.norms)
  }

  #directions(): Directions {
    const { a, lambda } = this.own
    const rank = a.shape[0]!
    const factors = [a, this.#rowsOfB()].map((rows) => limitNorms(rows, LEAST_NORM).factors)
    const unit = product(factors, 1 / (rank * LEAST_NORM ** 2))
    const strength = Tensor.empty([rank, 1], a)
    native.matmul({ a: unit.view([rank, 1]).native, b: lambda.view([1, 1]).native, c: strength.native })
    return { unit, strength: strength.view([rank]) }
  }

  /** Bᵀ [rank, d] */
  #rowsOfB(): Tensor {
    const { b } = this.own
    const [d, rank] = b.shape as [number, number]
    const rows = Tensor.empty([rank, d], b)
    rows.copyFrom(b.view([rank, d], [1, rank]))
    return rows
  }

  /**
   * From the gradient G [d, k] of the weight. With C = Bᵀ G diag(‖W‖) [rank, k], strength sᵢ has the gradient cᵢ · aᵢ, and a
   * norm ‖aᵢ‖ takes −sᵢ (cᵢ · aᵢ) / ‖aᵢ‖² aᵢ from the gradient sᵢ cᵢ of aᵢ; of B likewise.
   */
  #backward(gradient: Tensor, [dA, dB, dLambda]: readonly GradientTarget[], scale: number): void {
    const { a, b, norms } = this.own
    const { unit, strength } = this.#directions()
    const projected = Tensor.empty(a.shape, a)
    native.matmul({ a: b.native, transposeA: true, b: gradient.native, c: projected.native, alpha: scale })
    const ofA = scaled(projected, null, norms)
    const dStrength = rowProducts(ofA, a)
    /** sᵢ (cᵢ · aᵢ) / ‖·‖² of each direction, and 0 where the norm counts as its least. */
    const ofNorms = (rows: Tensor): Tensor => {
      const { factors, excess } = limitNorms(rows, LEAST_NORM)
      return whereExceeded(product([dStrength, strength, factors, factors], LEAST_NORM ** -2), excess)
    }
    const sumOfA = scaled(ofA, strength)
    native.add(scaled(a, ofNorms(a)).native, sumOfA.native, -1)
    dA!.pass(sumOfA)
    dB!.write((target, add) => {
      native.matmul({
        a: gradient.native,
        b: this.#scaledA().native,
        transposeB: true,
        c: target.native,
        alpha: scale,
        accumulate: add,
      })
      native.add(scaled(b, null, ofNorms(this.#rowsOfB())).native, target.native, -1)
    })
    dLambda!.write((target, add) => {
      const rank = unit.elements
      const [row, column] = [dStrength.view([1, rank]), unit.view([rank, 1])]
      native.matmul({ a: row.native, b: column.native, c: target.view([1, 1]).native, accumulate: add })
    })
  }
}

/** ‖·‖ [k] of a weight's columns. */
function columnNorms(weight: Weight): Tensor {
  return scope(() => {
    const [d, k] = weight.shape as [number, number]
    const values = weight.values('float32')
    const columns = Tensor.empty([k, d], values)
    columns.copyFrom(values.view([k, d], [1, k]))
    return rowNorms(columns)
  })
}

export const deloraMethod: AdapterMethod<DeloraConfig, typeof fields> = {
  name: 'delora',
  options: fields,
  config: delora,
  learningRate: () => 2e-4,
  readByPeft: true,
  rankLimit: (_, layer) => rankOfProduct(layer),

  // B is zero, so ΔW is.
  tensors: {
    delora_A: { shape: factorShapes.a, initial: kaimingUniform },
    delora_B: { shape: factorShapes.b },
    delora_lambda: {
      shape: () => [1],
      initial: ({ config, layer }) =>
        Float32Array.of(patternValue(config.lambdaPattern, layer.name) ?? config.deloraLambda),
    },
    delora_w_norm: {
      shape: (_, { inFeatures }) => [inFeatures],
      frozen: true,
      initial: ({ weight }) => columnNorms(weight),
    },
  },

  layer({ dropout }, options, tensors) {
    const [a, b] = [tensors.parameter('delora_A'), tensors.parameter('delora_B')]
    const [lambda, norms] = [tensors.parameter('delora_lambda'), tensors.parameter('delora_w_norm')]
    return new DeloraLayer(options, dropout, { a, b, lambda, norms })
  },

  fromPeft(json, source) {
    if (json.peft_type !== 'DELORA') return null
    return delora({
      ...commonEntries(json, source),
      dropout: dropoutFrom(json, 'module_dropout', source),
      deloraLambda: numberFrom(json, 'delora_lambda', source),
      lambdaPattern: patternsFrom(json, 'lambda_pattern', source),
    })
  },

  toPeft: ({ dropout, deloraLambda, lambdaPattern }) => ({
    bias: 'none',
    delora_lambda: deloraLambda,
    init_weights: true,
    lambda_pattern: lambdaPattern,
    module_dropout: dropout,
    peft_type: 'DELORA',
  }),
}
