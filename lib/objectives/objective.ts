/** The objective of a run: the rows that it reads, and their loss. */
import type { Batch } from '../data/batch.js'
import type { DatasetOptions, DatasetPart } from '../data/dataset.js'
import type { TokenRow } from '../data/encode.js'
import type { StepRows } from '../data/packing.js'
import type { DataSource } from '../data/sources/source.js'
import type { DataSummary } from '../data/summary.js'
import type { ForwardCall, ModelOutput } from '../models/network/model-output.js'

/** The scalar loss of a forward pass. */
export interface LossTensor {
  item(): Promise<number>
  /** Computes gradients. `onGradient` is called with each parameter when its gradient is complete. */
  backward(options?: { onGradient?: (parameter: object) => void }): Promise<void>
  dispose(): void
}

/** The output of a forward pass. */
export type States = Pick<ModelOutput, keyof ModelOutput>

/** The part of a model that losses need. `Model` implements it, and tests can. */
export interface ForwardModel {
  /**
   * Returns the sum of cross-entropies over the batch's targets, [1] float32, and their number. Without `gradients` nothing is
   * saved for a backward pass.
   */
  lossAsync(batch: Batch, options: { gradients: boolean }): Promise<{ loss: LossTensor; targetTokens: number }>
  /** Returns hidden states and logits of the batch, for other losses. The caller disposes of them. */
  forwardAsync(batch: Batch, options: ForwardCall & { gradients: boolean }): Promise<States>
}

/** A mean as a sum and a weight, which add up over forward passes. */
export interface WeightedSum {
  readonly sum: number
  readonly weight: number
}

export interface BatchLoss {
  /** The sum of losses in the batch, [1] float32. The caller disposes of it. */
  readonly loss: LossTensor
  /**
   * The batch's part of the divisor, such as target tokens or pairs. Losses and weights of a step are summed over forward
   * passes and ranks, and divided once.
   */
  readonly weight: number
  /** A value for each of the objective's `metrics`. */
  readonly metrics?: Readonly<Record<string, WeightedSum>>
}

export interface Objective {
  /** Names of further means, which events and `metrics.jsonl` have beside the loss; the same in every batch. */
  readonly metrics: readonly string[]
  /** The pieces of a small row. Its loss is computed before the first step, to find operations that the device lacks. */
  readonly smallRow: readonly TokenRow[]
  /** Reads and tokenises the rows of a run. */
  load(source: readonly DataSource[], options: DatasetOptions): Promise<ObjectiveRows>
  /** Returns the loss of whole rows; the pieces of a row are consecutive in the batch. */
  loss(model: ForwardModel, batch: Batch, options: { gradients: boolean }): Promise<BatchLoss>
}

export interface ObjectiveRows extends StepRows {
  readonly summary: Pick<DataSummary, 'tokens' | 'trainedSpecialTokens'>
  /** The sources in order. */
  readonly parts: readonly Pick<DatasetPart, 'rows' | 'weight' | 'source'>[]
  /** A hash of all rows, which must be equal in a resumed run. */
  readonly hash: string
}
