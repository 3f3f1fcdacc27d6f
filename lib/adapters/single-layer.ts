import { z } from 'zod'
import { aFlag, check, expecting, float32s, optionsSchema, wholeFrom } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import type { NativeDevice } from '../native/addon.js'
import { LinearInput } from '../nn/linear-input.js'
import { backwardFrom } from '../tensor/backward.js'
import { assemble, type Part } from '../tensor/destination.js'
import { openDevice } from '../tensor/device.js'
import { weightProduct } from '../tensor/operations/linear.js'
import { Parameter } from '../tensor/parameter.js'
import { scope } from '../tensor/scope.js'
import { noGrad } from '../tensor/tape.js'
import { type Float32Tensor, Tensor } from '../tensor/tensor.js'
import { weightOf } from '../tensor/weight.js'
import { mora, type Operator } from './methods/mora.js'
import { MoraLayer } from './methods/mora-layer.js'
import { squareSide } from './methods/mora-operators.js'

/** Options of `moraLayer`: the sizes of the linear layer, and MoRA's options. */
export interface MoraLayerOptions {
  /** Inputs of the linear layer. */
  inFeatures: number
  /** Outputs of the linear layer. */
  outFeatures: number
  /** The parameter budget: as many as a LoRA of this rank. Default 8. */
  rank?: number
  /** Default: rotation below rank 64, sharing from there on. */
  operator?: Operator
  /** Rotation only: outputs past the last one are added to the first ones instead of being cut. */
  foldOutput?: boolean
  /** As in `loadModel`; default `auto`. */
  device?: string
  /** Side of the matrix; default: by the rank. */
  squareSide?: number
}

/** Values on any device; a Float32Array is row-major. */
export type LayerValues = Tensor | Float32Array

const someValues = z.union([expecting('a Tensor', z.instanceof(Tensor)), float32s])

const moraLayerArguments = {
  options: optionsSchema('the options of moraLayer', {
    inFeatures: wholeFrom(1),
    outFeatures: wholeFrom(1),
    squareSide: wholeFrom(1).optional(),
    foldOutput: aFlag.optional(),
  }),
}

/**
 * MoRA's adapter of one linear layer, for use without a model (arXiv 2405.12130, Eq. 4 to 9 and Appendix B).
 *
 * x is [T, in], W [out, in] or null, M [R, R] and y [T, out], all float32. Results are tensors, which the caller disposes;
 * arguments stay the caller's.
 */
export class MoraSingleLayer {
  /** R, the side of the square matrix. */
  readonly squareSide: number
  /** The operator of compression and decompression. */
  readonly operator: Operator
  /** Columns of W and x. */
  readonly inFeatures: number
  /** Rows of W, and columns of y. */
  readonly outFeatures: number
  /** The device that computes and stores results. */
  readonly device: NativeDevice
  readonly #foldOutput: boolean

  constructor(given: MoraLayerOptions) {
    check({ options: given }, moraLayerArguments)
    const { inFeatures, outFeatures, device, foldOutput = false, ...options } = given
    const { squareSide: side, ...described } = options
    const { rank, operator } = mora(described)
    this.inFeatures = inFeatures
    this.outFeatures = outFeatures
    this.operator = operator
    this.squareSide = side ?? squareSide(inFeatures, outFeatures, rank, operator)
    this.device = openDevice({ device })
    this.#foldOutput = foldOutput
  }

  /** Returns y = x Wᵀ + f_decomp(M f_comp(x)), [T, out]. */
  forward(x: LayerValues, W: LayerValues | null, M: LayerValues): Float32Tensor {
    return scope(() => {
      const matrix = this.#parameter('M', this.#matrix(M))
      const y = noGrad(() => this.#apply(this.#rows(x, this.inFeatures, 'x'), W, matrix))
      matrix.dispose()
      return y as Float32Tensor
    })
  }

  /** Returns the gradients for dY [T, out]: of x through W and the adapter [T, in], and of M [R, R]. */
  backward(
    x: LayerValues,
    W: LayerValues | null,
    M: LayerValues,
    dY: LayerValues,
  ): {
    /** The gradient of x, [T, in] float32. */
    dX: Float32Tensor
    /** The gradient of M, [R, R] float32. */
    dM: Float32Tensor
  } {
    return scope(() => {
      const input = this.#parameter('x', this.#rows(x, this.inFeatures, 'x'))
      const matrix = this.#parameter('M', this.#matrix(M))
      const y = this.#apply(input, W, matrix)
      backwardFrom(y.node!, this.#rows(dY, this.outFeatures, 'dY'), Tensor.empty)
      const [dX, dM] = [this.#copy(input.grad!), this.#copy(matrix.grad!)]
      input.dispose()
      matrix.dispose()
      return { dX, dM }
    })
  }

  /** Returns ΔW [out, in], the adapter as a matrix: f_decomp(M f_comp(x)) = ΔW x. */
  delta(M: LayerValues): Float32Tensor {
    return scope(() => {
      const weight = Tensor.zeros([this.outFeatures, this.inFeatures], { device: this.device })
      const nonFinite = Tensor.zeros([1], { device: this.device, dtype: 'int32' })
      const matrix = this.#parameter('M', this.#matrix(M))
      this.#adapter(matrix).mergeInto(weight, 1, nonFinite)
      matrix.dispose()
      return weight
    })
  }

  #apply(x: Tensor, W: LayerValues | null, M: Parameter): Tensor {
    const adapter = this.#adapter(M)
    const columns = { from: 0, to: this.outFeatures }
    const parts: Part[] = [{ ...columns, write: (into) => adapter.forward(new LinearInput(x), 1, into) }]
    if (W !== null) {
      const weight = this.#values(W, [this.outFeatures, this.inFeatures], 'W')
      parts.push({ ...columns, write: (into) => weightProduct(x, weightOf(weight), into) })
    }
    return assemble([x.shape[0]!, this.outFeatures], parts, x)
  }

  #adapter(M: Parameter): MoraLayer {
    const { inFeatures, outFeatures, operator, device } = this
    const config = { operator, scale: 1, foldOutput: this.#foldOutput, dropout: 0 }
    return new MoraLayer(config, { layer: { name: 'layer', inFeatures, outFeatures }, device, adapter: 'default' }, M)
  }

  #matrix(M: LayerValues): Tensor {
    return this.#values(M, [this.squareSide, this.squareSide], 'M')
  }

  #rows(values: LayerValues, columns: number, name: string): Tensor {
    check({ [name]: values }, { [name]: someValues })
    const count = values instanceof Tensor ? values.elements : values.length
    return this.#values(values, [Math.floor(count / columns), columns], name)
  }

  #values(values: LayerValues, shape: [number, number], name: string): Tensor {
    check({ [name]: values }, { [name]: someValues })
    const came = values instanceof Tensor ? `[${values.shape.join(', ')}]` : `${values.length} values`
    const fits = values instanceof Tensor ? values.shape.join() === shape.join() : values.length === shape[0] * shape[1]
    if (!fits) throw new UsageError('unfit-shape', `Expected [${shape.join(', ')}] for ${name} but received ${came}.`)
    return values instanceof Tensor ? values : Tensor.from(values, shape, { device: this.device })
  }

  #parameter(name: string, values: Tensor): Parameter {
    return new Parameter(name, this.#copy(values))
  }

  #copy(tensor: Tensor): Float32Tensor {
    const copy = Tensor.empty(tensor.shape, { device: tensor.device })
    copy.copyFrom(tensor)
    return copy
  }
}

/**
 * Makes MoRA's adapter of one linear layer: `moraLayer({ inFeatures: 576, outFeatures: 192, rank: 8, operator: 'rotation' })`.
 *
 * ```ts
 * import { moraLayer } from 'node-mora'
 *
 * const layer = moraLayer({ inFeatures: 576, outFeatures: 192, rank: 8, operator: 'rotation', device: 'cpu' })
 * const M = new Float32Array(layer.squareSide ** 2).fill(0.01) // [78, 78]
 * const deltaW = layer.delta(M) // [192, 576]
 * ```
 */
export function moraLayer(options: MoraLayerOptions): MoraSingleLayer {
  return new MoraSingleLayer(options)
}
