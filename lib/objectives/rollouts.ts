/** What passes between a run and an objective that learns from answers of the model itself. */

import { type Batch, rowOfDocument } from '../batches/batch.js'
import type { StepRow } from '../batches/step-rows.js'
import type { RandomStream } from '../common/random.js'
import type { Sampling } from '../tensor/operations/sampling.js'
import type { Tokenizer } from '../text/tokenizer.js'
import type { WeightedSum } from './weighted-sum.js'

/** The heading of options in help. */
export const OWN_ANSWERS = "Objectives of the model's own answers:"

/** What is known of an answer that is trained. */
export interface Rollout {
  /** How much better it is than the others of its prompt. */
  readonly advantage: number
  /** ln of the probability with which each trained token was drawn. */
  readonly sampled?: readonly number[]
  /** ln π of each trained token by the weights that wrote it; absent: by those of now. */
  readonly old?: readonly number[]
}

/** One answer to write. */
export interface AnswerRequest {
  /** Tokens before it. */
  readonly ids: readonly number[]
  /** Maximum number of its tokens. */
  readonly maxNewTokens: number
  /** How tokens are drawn. */
  readonly sampling: Sampling
  /** One number for each token. */
  readonly random: RandomStream
  /** Whether the probability of each token is told. */
  readonly logprobs: boolean
  /** Aborting it ends the answer with its reason. */
  readonly signal?: AbortSignal | undefined
}

/** Writes answers with the weights that the model has when it is opened. */
export interface AnswerWriter extends AsyncDisposable {
  /** Writes an answer, token by token, a stop token included; many at once. */
  write(request: AnswerRequest): AsyncGenerator<WrittenToken, 'stop' | 'length'>
}

/** A token of an answer. */
export interface WrittenToken {
  /** Its id. */
  readonly id: number
  /** ln of its probability, before any option of sampling changed it. */
  readonly logprob?: number
}

/** What a run gives to sample answers. */
export interface SampleContext {
  /** Tells its draws from others of the seed: the step that uses them first, from 0, or what else they are for. */
  readonly draws: number | string
  /** The run's seed. */
  readonly seed: number
  /** Answers for each row; default: as many as the objective trains. */
  readonly answers?: number
  /** The model's tokenizer. */
  readonly tokenizer: Tokenizer
  /** Aborting it ends the sampling with its reason. */
  readonly signal?: AbortSignal | undefined
  /** Opens a writer of completions, given the maximum number of tokens of a prompt with its completion. */
  openWriter(tokens: readonly number[]): Promise<AnswerWriter>
  /** Returns ln π of the targets of each row by the weights of now. */
  logProbs(rows: readonly StepRow[], temperature: number): Promise<Map<number, number[]>>
  /** Sums values over all ranks. */
  sum(values: readonly number[]): Promise<readonly number[]>
}

/** What an objective made of the rows of a step. */
export interface SampledStep {
  /** The rows to train. */
  readonly rows: readonly StepRow[]
  /** What is known of them, by their place in the step. */
  readonly rollouts: ReadonlyMap<number, Rollout>
  /** Means over them, beside those of the loss. */
  readonly metrics: Readonly<Record<string, WeightedSum>>
  /** A line of `rollouts.jsonl` for each answer. */
  readonly records: readonly object[]
  /** The first error of a function that the model called, with the function's name. */
  readonly toolError?: string | undefined
}

/** How long what was sampled is used. */
export interface SampleReuse {
  /** Steps whose rows are sampled at once. */
  readonly steps: number
  /** How often each of them is trained. */
  readonly times: number
}

/** Returns what is known of the answers of a batch, in which each document is one. */
export function rolloutsOf(batch: Batch, known: ReadonlyMap<number, Rollout> | undefined): Rollout[] {
  return Array.from(
    { length: batch.rows },
    (_, document) => known?.get(rowOfDocument(batch, document)) ?? { advantage: 1 },
  )
}
