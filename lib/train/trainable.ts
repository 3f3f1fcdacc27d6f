/** What training needs of a model, its parameters and an optimizer. `Model`, `Parameter` and `AdamW` fit; so do fakes. */
import type { Batch } from '../data/batch.js'

/** Values on a device. */
export interface StoredValues {
  readonly shape: readonly number[]
  data(): Promise<ArrayLike<number> | ArrayLike<bigint>>
}

/** Values whose memory is given back by the last `release`. */
export interface HeldValues extends StoredValues {
  retain(): unknown
  release(): void
}

/** A float32 tensor that the optimizer changes. */
export interface TrainedParameter extends StoredValues {
  readonly name: string
  readonly grad: HeldValues | null
  /** Replaces the values. */
  assign(values: Float32Array): void
}

/** The scalar that a forward pass ends in. */
export interface LossTensor {
  item(): Promise<number>
  backward(): Promise<void>
  dispose(): void
}

export interface TrainableModel {
  trainableParameters(): { name: string; parameter: TrainedParameter }[]
  /** `loss` is the sum over the batch's target tokens, [1] float32. */
  loss(batch: Batch): { loss: LossTensor; targetTokens: number }
  /** Keys the dropout masks of the following forward passes; null turns dropout off. */
  setDropout(key: { seed: number; step: number } | null): void
}

export interface OptimizerState {
  /** Updates done. */
  step: number
  tensors: { name: string; tensor: StoredValues }[]
}

export interface StepOptions {
  learningRate: number
  /** Multiplies every gradient first. */
  scaleGradients: number
  /** Clips the global norm to this; 0 is no clipping. */
  maxGradNorm: number
}

export interface Optimizer {
  /**
   * Updates every parameter, unless the norm is not finite, and forgets the gradients. Returns the norm before clipping,
   * [1] float32.
   */
  step(options: StepOptions): { item(): Promise<number>; dispose(): void }
  state(): OptimizerState
  load(state: { step: number; tensors: ReadonlyMap<string, Float32Array> }): void
  dispose(): void
}
