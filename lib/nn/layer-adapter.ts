import type { Destination } from '../tensor/destination.js'
import type { WeightUpdate } from '../tensor/operations/linear.js'
import type { Parameter } from '../tensor/parameter.js'
import type { Tensor } from '../tensor/tensor.js'
import type { Weight } from '../tensor/weight.js'
import type { LinearInput } from './linear-input.js'

/** What `updatedLinear` needs of an adapter beside one layer, wherever its rows lie in the weight. */
export type LayerUpdate = Omit<WeightUpdate, 'from' | 'to'>

/** ΔW = scale · B A; each factor is computed on request. */
export interface LowRankFactors {
  /** Rows of A and columns of B. */
  readonly rank: number
  /** What B A is multiplied by, as alpha / rank of LoRA. */
  readonly scale: number
  /** A [rank, k], row-major. */
  readonly a: () => Promise<Float32Array>
  /** B [d, rank], row-major. */
  readonly b: () => Promise<Float32Array>
}

/** The part of an adapter that sits beside one linear layer. */
export interface LayerAdapter {
  /** The trained tensors, float32. */
  readonly parameters: readonly Parameter[]
  /**
   * Writes (or adds) `scale` times the adapter's contribution [T, d] for `input.x` [T, k], for a layer with weight [d, k].
   * Differentiable.
   */
  forward(input: LinearInput, scale: number, into: Destination, weight: Weight): Tensor
  /** The contribution without dropout, as a change of the weight; null if there is no such form. */
  weightUpdate(scale: number): LayerUpdate | null
  /** Whether ΔW is computed for every product anyway: then joining the weight's product pays with any number of rows. */
  readonly makesWeight?: boolean
  /** The same if joining the weight's product pays; null otherwise, and with dropout on the adapter's input. */
  asWeightUpdate(input: LinearInput, scale: number): LayerUpdate | null
  /** weight [d, k] += scale ΔW, in place; adds the number of results that are not finite to nonFinite [1] int32. */
  mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void
  /** ΔW as a product of two factors, if that is exact; absent or null otherwise. */
  factors?(): LowRankFactors | null
  /** Frees all tensors that the layer owns. */
  dispose(): void
}
