/** What a run makes small: the rows that it reads, and their loss. */
import type { Batch } from '../data/batch.js'
import type { DatasetOptions, DatasetPart } from '../data/dataset.js'
import type { TokenRow } from '../data/encode.js'
import type { StepRows } from '../data/packing.js'
import type { DataSource } from '../data/sources/source.js'
import type { DataSummary } from '../data/summary.js'
import type { ForwardCall, ModelOutput } from '../models/network/model-output.js'

/** The scalar that a forward pass ends in. */
export interface LossTensor {
  item(): Promise<number>
  /** `onGradient` is called with each parameter once nothing more is added to its gradient. */
  backward(options?: { onGradient?: (parameter: object) => void }): Promise<void>
  dispose(): void
}

/** What a forward pass gave. */
export type States = Pick<ModelOutput, keyof ModelOutput>

/** What losses are made of. `Model` fits; so do fakes. */
export interface ForwardModel {
  /**
   * Sum of cross-entropies over the batch's targets, [1] float32, and their number. Without `gradients` nothing is kept for a
   * backward pass.
   */
  lossAsync(batch: Batch, options: { gradients: boolean }): Promise<{ loss: LossTensor; targetTokens: number }>
  /** Hidden states and logits of the batch, for any other loss. The caller disposes of them. */
  forwardAsync(batch: Batch, options: ForwardCall & { gradients: boolean }): Promise<States>
}

/** A mean in two parts, so that those of several forward passes add up. */
export interface WeightedSum {
  readonly sum: number
  readonly weight: number
}

export interface BatchLoss {
  /** A sum over what is trained in the batch, [1] float32. The caller disposes of it. */
  readonly loss: LossTensor
  /**
   * The batch's part of the divisor: target tokens, pairs. Losses and weights of a step are added up over forward passes and
   * ranks, and divided once.
   */
  readonly weight: number
  /** One for each of the objective's `metrics`. */
  readonly metrics?: Readonly<Record<string, WeightedSum>>
}

export interface Objective {
  /** Names of further means, which stand beside the loss in events and `metrics.jsonl`; the same in every batch. */
  readonly metrics: readonly string[]
  /** The pieces of a small row: what a device cannot compute shows in its loss before the first step. */
  readonly smallRow: readonly TokenRow[]
  /** Reads and tokenises the rows that the loss is of. */
  load(source: readonly DataSource[], options: DatasetOptions): Promise<ObjectiveRows>
  /** The loss of whole rows: the pieces of a row lie one after the other in the batch. */
  loss(model: ForwardModel, batch: Batch, options: { gradients: boolean }): Promise<BatchLoss>
}

export interface ObjectiveRows extends StepRows {
  readonly summary: Pick<DataSummary, 'tokens' | 'trainedSpecialTokens'>
  /** The sources, one after the other. */
  readonly parts: readonly DatasetPart[]
  /** A hash of all that is trained on: a resumed run must find the same. */
  readonly hash: string
}
