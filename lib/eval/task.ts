/** The interface of all evaluation tasks: their inputs and results. */
import type { Batch } from '../data/batch.js'
import type { LimitedRow } from '../data/long-rows.js'
import type { RowReading } from '../data/rows/reading.js'
import type { OpenSource } from '../data/sources/open.js'
import type { ChatTemplate, TemplateContext } from '../data/templates/template.js'
import type { LanguageModel } from '../generate/index.js'
import type { AdapterChoice } from '../models/index.js'
import type { EvalOptions, Task } from '../options/index.js'
import type { Tensor } from '../tensor/tensor.js'

/** The part of a model that turns rows into tokens. */
export type RowReader = Pick<LanguageModel, 'path' | 'tokenizer' | 'adapterSet'> & {
  readonly config: Pick<LanguageModel['config'], 'maxPositions' | 'vocabularySize'>
}

/** The part of a model that an evaluation needs. `Model` implements it, and tests can. */
export interface EvaluatedModel extends LanguageModel {
  /** Natural log-probability of every target of the batch, in order. */
  tokenLogProbs(batch: Batch): Promise<Float32Array>
  /**
   * Returns the model with these adapters, whatever is active in it, and by default those that are active now. If absent, a call
   * cannot choose adapters, and `forgetting` and `change` need `base`.
   */
  withAdapters?(adapters?: AdapterChoice): EvaluatedModel
  /** Logits of the batch's targets. For `change`. */
  forwardAsync?(batch: Batch, options: { rows: 'targets'; gradients: false }): Promise<LogitsOfTargets>
}

/** Float32 logits [to - from, V] of targets [from, to), in order. */
export interface LogitsOfTargets extends Disposable {
  /** Float32 logits [to - from, V] of the targets with these numbers, as a new tensor of the running scope. */
  logits(from: number, to: number): Tensor
}

/** Progress of an evaluation. */
export interface EvalProgress {
  /** Rows done so far, or for a text windows. */
  done: number
  /** The largest possible `done`, if `limit` is set; else null. */
  total: number | null
  /** A short phrase about the result so far, such as `accuracy 0.25`; empty if there is none. */
  summary: string
}

/** Result of the task `logprobs`: every row, for comparisons with other programs. */
export interface LogProbsResult {
  /** Rows in the order of the data. */
  rows: {
    /** Token ids of the row. */
    ids: number[]
    /** Natural log-probability of each token after the first, given those before it. */
    logprobs: number[]
  }[]
}

/** Result of the task `perplexity`. */
export interface PerplexityResult {
  /** exp(loss). */
  perplexity: number
  /** Mean negative natural log-probability of the targets. */
  loss: number
  /** Tokens read. */
  tokens: number
  /** Tokens predicted. */
  targets: number
}

/** Result of the task `exact-match`. */
export interface ExactMatchResult {
  /** Rows whose answer is the expected one. */
  correct: number
  /** Number of rows. */
  rows: number
  /** Share of correct rows, a fraction. */
  accuracy: number
}

/** Result of the task `choices`. */
export interface ChoicesResult {
  /** Share of the rows whose right choice is the likeliest. */
  accuracy: number
  /** Accuracy by subject; empty if rows name none. */
  bySubject: Record<string, number>
}

/** Result of the task `recall`. */
export interface RecallResult {
  /** Share of the characters of all completions that are correct at their position. */
  characterAccuracy: number
  /** Share of the rows whose whole completion was recalled. */
  exactAccuracy: number
}

/** Result of the task `forgetting`: how much worse the model has become at a text. */
export interface ForgettingResult {
  /** `after` less `before`: positive if the model has become worse at the text. */
  forgetting: number
  /** Mean negative natural log-probability of the targets, by the model before. */
  before: number
  /** The same by the model with its active adapters. */
  after: number
  /** Tokens read. */
  tokens: number
  /** Tokens predicted. */
  targets: number
}

/** Result of the task `change`: how far the model's predictions have moved from those of the model before. */
export interface ChangeResult extends Omit<ForgettingResult, 'forgetting'> {
  /** Mean of |log-probability of a target after − before|. */
  meanAbsoluteChange: number
  /** The largest of these. */
  maxAbsoluteChange: number
  /** Mean of Σ p ln(p / q) over the vocabulary [nats], with p of the model before and q of the model. */
  klDivergence: number
  /** Share of the targets for which both models have the same likeliest token. */
  sameTopTokens: number
}

/** The result of each task, by its name. */
export interface EvalResults extends Record<Task, object> {
  /** Log-probabilities of every token. */
  logprobs: LogProbsResult
  /** How well the model predicts a text or completions. */
  perplexity: PerplexityResult
  /** Share of generated answers that equal the expected ones. */
  'exact-match': ExactMatchResult
  /** Share of multiple-choice questions that are answered right. */
  choices: ChoicesResult
  /** How well completions are memorised. */
  recall: RecallResult
  /** How much worse the model predicts a text than before training. */
  forgetting: ForgettingResult
  /** How far training moved the predictions. */
  change: ChangeResult
}

/** The input of a task. */
export interface RowsContext {
  readonly model: RowReader
  readonly options: EvalOptions
  readonly data: readonly OpenSource[]
  readonly shotsData: readonly OpenSource[] | undefined
  readonly reading: RowReading
  /** If null, prompts are used without a template. */
  readonly template: ChatTemplate | null
  /** Template variables for rows without their own. */
  readonly templateContext: TemplateContext
  /** Aborting it ends the task with its reason. */
  readonly signal?: AbortSignal
  /** Largest number of tokens of a row. */
  readonly maxLength: number
  /** Called when a row has become tokens. */
  encoded(row: LimitedRow): void
}

export interface TaskContext extends RowsContext {
  readonly model: EvaluatedModel
  /** The model before, for `forgetting` and `change`; null means the model without its active adapters. */
  readonly base: EvaluatedModel | null
  /** Called when a row (or window) is done, with its line of `--output` and the result so far. */
  done(line: object, summary?: string): Promise<void>
}

export type RunTask<T extends Task = Task> = (context: TaskContext) => Promise<EvalResults[T]>
