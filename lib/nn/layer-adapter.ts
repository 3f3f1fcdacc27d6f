import type { Destination } from '../tensor/destination.js'
import type { WeightUpdate } from '../tensor/operations/linear.js'
import type { Parameter } from '../tensor/parameter.js'
import type { Tensor } from '../tensor/tensor.js'
import type { Weight } from '../tensor/weight.js'
import type { LinearInput } from './linear-input.js'
import type { SquareForm } from './square-form.js'

/** An adapter's update of one layer's weight, without the place of its rows in a fused weight; see `updatedLinear`. */
export type LayerUpdate = Omit<WeightUpdate, 'from' | 'to'>

/** ΔW = scale · B A; each factor is computed on request. */
export interface LowRankFactors {
  /** Rows of A and columns of B. */
  readonly rank: number
  /** Factor of B A, such as LoRA's alpha / rank. */
  readonly scale: number
  /** A [rank, k], row-major. */
  readonly a: () => Promise<Float32Array>
  /** B [d, rank], row-major. */
  readonly b: () => Promise<Float32Array>
}

/** The part of an adapter at one linear layer. */
export interface LayerAdapter {
  /** The trained tensors, float32. */
  readonly parameters: readonly Parameter[]
  /**
   * Writes (or adds) `scale` times the adapter's contribution [T, d] for `input.x` [T, k], for a layer with weight [d, k].
   * Differentiable.
   */
  forward(input: LinearInput, scale: number, into: Destination, weight: Weight): Tensor
  /**
   * Its contribution to a few rows, where that has such a form.
   *
   * @internal
   */
  readonly square?: SquareForm
  /** Returns the contribution, without dropout, as a change of the weight; null if it has no such form. */
  weightUpdate(scale: number): LayerUpdate | null
  /** Whether every product computes ΔW anyway, so that joining the weight's product is faster for any number of rows. */
  readonly makesWeight?: boolean
  /** Like `weightUpdate` if joining the weight's product is faster; else, and with dropout on the input, null. */
  asWeightUpdate(input: LinearInput, scale: number): LayerUpdate | null
  /** weight [d, k] += scale ΔW, in place; adds the number of results that are not finite to nonFinite [1] int32. */
  mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void
  /** Returns ΔW as a product of two factors if that is exact; else null or absent. */
  factors?(): LowRankFactors | null
  /** Frees all tensors that the layer owns. */
  dispose(): void
}
