import { native } from '../../native/addon.js'
import type { LayerUpdate } from '../../nn/layer-adapter.js'
import { writeMultiple, writeWeightGradient } from '../../tensor/gradient-writes.js'
import { norms } from '../../tensor/operations/reductions.js'
import type { Parameter } from '../../tensor/parameter.js'
import { keep, scope } from '../../tensor/scope.js'
import { type GradientTarget, Tensor } from '../../tensor/tensor.js'
import type { ConfigOf, LayerOptions } from '../contract/adapter.js'
import { AdapterLayer, memoryOfWeightForm } from '../contract/adapter-layer.js'
import { type LowRankConfig, type LowRankOptions, lowRankConfig, lowRankFields, lowRankMethod } from './low-rank.js'

/**
 * DoRA (arXiv 2402.09353): W' = m ⊙ (W + ΔW) / ‖W + ΔW‖ with LoRA's ΔW, norms of rows, and a trained magnitude m [d] that
 * starts as ‖W‖. The norm counts as a constant in gradients (section 4.3), as in PEFT.
 */
export function dora(options: LowRankOptions = {}): ConfigOf<'dora', LowRankConfig> {
  return lowRankConfig('dora', options)
}

const magnitudeSuffix = 'lora_magnitude_vector'

/** DoRA beside one layer, with gradients by hand: with the tape, a step takes a fifth more time. */
export class DoraLayer extends AdapterLayer {
  override readonly makesWeight = true
  /** √k / ‖W + ΔW‖ [d] of the last product, for its gradients: RMSNorm's factor of each row. */
  readonly #inverse: Tensor
  readonly #ones: Tensor

  constructor(
    options: LayerOptions,
    dropout: number,
    readonly scale: number,
    /** [rank, k] */
    readonly a: Parameter,
    /** [d, rank] */
    readonly b: Parameter,
    /** [d] */
    readonly magnitude: Parameter,
  ) {
    super(options, dropout, [a, b, magnitude])
    this.#inverse = keep(Tensor.empty(magnitude.shape, magnitude))
    this.#ones = keep(onesLike(a, Math.max(...a.shape)))
  }

  weightUpdate(scale: number): LayerUpdate {
    return {
      parameters: this.parameters,
      addTo: (rows, weight, untouched) => scope(() => this.#addTo(rows, weight, untouched, scale)),
      backward: (dY, x, targets, weight) => scope(() => this.#backward(dY, x, targets, weight, scale)),
    }
  }

  override dispose(): void {
    super.dispose()
    this.#inverse.dispose()
    this.#ones.dispose()
  }

  #addTo(rows: Tensor, weight: Tensor, untouched: boolean, scale: number): void {
    const { a, b } = this
    const directed = untouched ? rows : Tensor.empty(weight.shape, { device: weight.device })
    if (!untouched) native.dequantise(weight.native, directed.native)
    native.matmul({ a: b.native, b: a.native, c: directed.native, alpha: this.scale, accumulate: true })
    writeInverseNorms(directed, this.#ones, this.#inverse)
    this.#scaleRows(directed, this.#factors(scale), directed)
    if (!untouched) native.add(directed.native, rows.native, 1)
    const rest = untouched ? 1 - scale : -scale
    if (rest !== 0) native.add(weight.native, rows.native, rest)
  }

  /**
   * Computes all gradients from the weight's, G = dYᵀ x: with f = m / ‖·‖, the gradients of A and B from s f ⊙ G, and of m from
   * (W + ΔW) ⊙ G.
   */
  #backward(dY: Tensor, x: Tensor, targets: readonly GradientTarget[], weight: Tensor, scale: number): void {
    const { a, b } = this
    const [dA, dB, dMagnitude] = targets
    const dWeight = Tensor.empty(weight.shape, { device: x.device })
    native.matmul({ a: dY.native, transposeA: true, b: x.native, c: dWeight.native })
    const projected = Tensor.empty(b.shape, b)
    native.matmul({ a: dWeight.native, b: a.native, transposeB: true, c: projected.native })

    const factors = this.#factors(scale * this.scale)
    const scaled = Tensor.empty(b.shape, b)
    this.#scaleRows(b, factors, scaled)
    writeWeightGradient(dA!, scaled, dWeight)
    this.#scaleRows(projected, factors, scaled)
    writeMultiple(dB!, 1, scaled)

    native.multiply(weight.native, dWeight.native, dWeight.native, 1, false)
    native.multiply(b.native, projected.native, projected.native, this.scale, false)
    const sums = Tensor.empty([weight.shape[0]!, 1], projected)
    addRowSums(dWeight, this.#ones, sums, false)
    addRowSums(projected, this.#ones, sums, true)
    dMagnitude!.write((target, add) => {
      native.multiply(asRow(sums), asRow(this.#inverse), asRow(target), scale / Math.sqrt(this.a.shape[1]!), add)
    })
  }

  /** scale · m / ‖W + ΔW‖ [d] */
  #factors(scale: number): Tensor {
    const factors = Tensor.empty(this.magnitude.shape, this.magnitude)
    const total = scale / Math.sqrt(this.a.shape[1]!)
    native.multiply(asRow(this.magnitude), asRow(this.#inverse), asRow(factors), total, false)
    return factors
  }

  /** target = factors [d] ⊙ rows of a float32 matrix [d, k or rank], which may be the target. */
  #scaleRows(matrix: Tensor, factors: Tensor, target: Tensor): void {
    const ones = this.#ones.view([matrix.shape[1]!])
    native.rmsNormApply(matrix.native, ones.native, 0, factors.native, target.native)
  }
}

function onesLike({ device }: Tensor, count: number): Tensor {
  const ones = Tensor.empty([count], { device })
  native.fill(ones.native, 1)
  return ones
}

/** Views the values of a tensor as one row. */
const asRow = (tensor: Tensor) => tensor.view([1, tensor.elements]).native

/** √k / ‖·‖ [d] of the rows of a float32 matrix [d, k]. */
function writeInverseNorms(matrix: Tensor, ones: Tensor, inverse: Tensor): void {
  native.rmsNorm({
    x: matrix.native,
    weight: ones.view([matrix.shape[1]!]).native,
    weightOffset: 0,
    epsilon: 0,
    rstd: inverse.native,
  })
}

/** sums [d, 1] (+)= Σ over the columns of a matrix with d rows. */
function addRowSums(matrix: Tensor, ones: Tensor, sums: Tensor, add: boolean): void {
  native.matmul({ a: matrix.native, b: ones.view([matrix.shape[1]!, 1]).native, c: sums.native, accumulate: add })
}

export const doraMethod = lowRankMethod<ConfigOf<'dora', LowRankConfig>>({
  name: 'dora',
  options: lowRankFields,
  config: dora,
  learningRate: 2e-4,
  layerMemory: (_, layer) => memoryOfWeightForm(layer),
  further: {
    [magnitudeSuffix]: {
      shape: (_, { outFeatures }) => [outFeatures],
      initial: ({ weight }) => scope(() => norms(weight.values('float32'))),
    },
  },
  layer: ({ dropout }, options, scale, { a, b }, tensors) =>
    new DoraLayer(options, dropout, scale, a, b, tensors.parameter(magnitudeSuffix)),
  peft: { use_dora: true },
})
