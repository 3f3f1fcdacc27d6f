/** The interface between a run and an objective that samples completions. */

import { type Batch, rowOfDocument } from '../batches/batch.js'
import type { StepRow } from '../batches/step-rows.js'
import type { Engine, EngineRequest } from '../engine/index.js'
import type { Tokenizer } from '../text/tokenizer.js'
import type { WeightedSum } from './weighted-sum.js'

/** Heading of help for options of such objectives. */
export const OWN_ANSWERS = "Objectives of the model's own answers:"

/** A sampled completion, as the loss needs it. */
export interface Rollout {
  /** Advantage over the other completions of its prompt. */
  readonly advantage: number
  /** ln of the probability with which each trained token was sampled. */
  readonly sampled?: readonly number[]
  /** ln π of each trained token under the weights that sampled it; default: under the current weights. */
  readonly old?: readonly number[]
}

/** The parts of a run with which an objective samples completions. */
export interface SampleContext {
  /** Name of the stream of random numbers: the first step that uses the completions, from 0, or a word. */
  readonly draws: number | string
  /** The run's seed. */
  readonly seed: number
  /** Completions per row; default: as many as the objective trains. */
  readonly answers?: number
  /** The model's tokenizer. */
  readonly tokenizer: Tokenizer
  /** Tokens that end a completion, under the run's chat template. */
  readonly stopIds: ReadonlySet<number>
  /** Aborting it ends the sampling with its reason. */
  readonly signal?: AbortSignal | undefined
  /**
   * Opens an engine of the current weights, which is to be closed before the sampling ends.
   * @param tokens for each completion the maximum number of its tokens, its prompt's included
   */
  openEngine(tokens: readonly number[]): Engine
  /** Opens the constraint of a completion that is JSON by a schema; the caller disposes of it. */
  openConstraint(schema: unknown): Promise<
    NonNullable<EngineRequest['constraint']> & {
      /** Frees the memory. */
      dispose(): void
    }
  >
  /** Returns ln π of the targets of each row under the current weights. */
  logProbs(rows: readonly StepRow[], temperature: number): Promise<Map<number, number[]>>
  /** Sums values over all ranks. */
  sum(values: readonly number[]): Promise<readonly number[]>
}

/** The sampled rows of a step. */
export interface SampledStep {
  /** The rows to train. */
  readonly rows: readonly StepRow[]
  /** Rollouts, by the index of the row in the step. */
  readonly rollouts: ReadonlyMap<number, Rollout>
  /** Means over the rows, beside the metrics of the loss. */
  readonly metrics: Readonly<Record<string, WeightedSum>>
  /** A line of `rollouts.jsonl` per completion. */
  readonly records: readonly object[]
  /** The first error of a function that the model called, with the function's name. */
  readonly toolError?: string | undefined
}

/** The reuse of sampled rows. */
export interface SampleReuse {
  /** Steps whose rows are sampled at once. */
  readonly steps: number
  /** Number of times that each row is trained. */
  readonly times: number
}

/** Returns the rollout of each document of a batch. */
export function rolloutsOf(batch: Batch, known: ReadonlyMap<number, Rollout> | undefined): Rollout[] {
  return Array.from(
    { length: batch.rows },
    (_, document) => known?.get(rowOfDocument(batch, document)) ?? { advantage: 1 },
  )
}
