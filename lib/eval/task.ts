/** The interface that all evaluation tasks share: what they receive and what they return. */
import type { Batch } from '../data/batch.js'
import type { TextTemplate } from '../data/rows/text-template.js'
import type { OpenSource } from '../data/sources/open.js'
import type { ChatTemplate, TemplateContext } from '../data/templates/template.js'
import type { LanguageModel } from '../generate/index.js'
import type { EvalOptions, Task } from '../options/index.js'
import type { Tensor } from '../tensor/tensor.js'

/** What rows become tokens by. */
export type RowReader = Pick<LanguageModel, 'path' | 'tokenizer' | 'adapterSet'> & {
  readonly config: Pick<LanguageModel['config'], 'maxPositions' | 'vocabularySize'>
}

/** What an evaluation needs of a model. `Model` fits; so do fakes. */
export interface EvaluatedModel extends LanguageModel {
  /** Natural log-probability of every target of the batch, in order. */
  tokenLogProbs(batch: Batch): Promise<Float32Array>
  /** Turns adapter dropout off: an evaluation uses every element. */
  setDropout(key: null): void
  /** Only these adapters take part from now on. For `forgetting` and `change` without `base`. */
  setActiveAdapters?(names: readonly string[]): void
  /** Logits of the batch's targets. For `change`. */
  forwardAsync?(batch: Batch, options: { rows: 'targets'; gradients: false }): Promise<LogitsOfTargets>
}

/** Float32 logits [to - from, V] of targets [from, to), in order. */
export interface LogitsOfTargets extends Disposable {
  /** Float32 logits [to - from, V] of the targets with these numbers, as a new tensor of the running scope. */
  logits(from: number, to: number): Tensor
}

/** How far an evaluation is. */
export interface EvalProgress {
  /** Rows done so far; for a text, windows. */
  done: number
  /** The most there will be, if `limit` is set; else null. */
  total: number | null
  /** A short phrase about the result so far, such as `accuracy 0.25`; empty if there is none. */
  summary: string
}

/** What the task `logprobs` returns: every row, for comparisons with other programs. */
export interface LogProbsResult {
  /** Rows in the order of the data. */
  rows: {
    /** Token ids of the row. */
    ids: number[]
    /** Natural log-probability of each token after the first, given those before it. */
    logprobs: number[]
  }[]
}

/** What the task `perplexity` returns. */
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

/** What the task `exact-match` returns. */
export interface ExactMatchResult {
  /** Rows whose answer is the expected one. */
  correct: number
  /** Rows that were asked. */
  rows: number
  /** A fraction, like every accuracy. */
  accuracy: number
}

/** What the task `choices` returns. */
export interface ChoicesResult {
  /** Share of the rows whose right choice is the likeliest. */
  accuracy: number
  /** Accuracy by subject; empty if rows name none. */
  bySubject: Record<string, number>
}

/** What the task `recall` returns. */
export interface RecallResult {
  /** Share of the characters of all completions that are right and in their place. */
  characterAccuracy: number
  /** Share of the rows whose whole completion was recalled. */
  exactAccuracy: number
}

/** What the task `forgetting` returns: how much worse the model has become at a text. */
export interface ForgettingResult {
  /** `after` less `before`: positive where the model has become worse at the text. */
  forgetting: number
  /** Mean negative log-probability of the targets, natural, of the model before. */
  before: number
  /** The same of the model, with its active adapters. */
  after: number
  /** Tokens read. */
  tokens: number
  /** Tokens predicted. */
  targets: number
}

/** What the task `change` returns: how far the model's predictions have moved from those of the model before. */
export interface ChangeResult extends Omit<ForgettingResult, 'forgetting'> {
  /** Mean of |log-probability of a target after − before|. */
  meanAbsoluteChange: number
  /** The largest of these. */
  maxAbsoluteChange: number
  /** Mean of Σ p ln(p / q) over what may follow, p of the model before and q of the model [nats]. */
  klDivergence: number
  /** Share of the targets at which both models find the same token likeliest. */
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
  /** Share of memorised completions. */
  recall: RecallResult
  /** How much worse the model predicts a text than before training. */
  forgetting: ForgettingResult
  /** How far predictions moved by training. */
  change: ChangeResult
}

/** What a task reads. */
export interface RowsContext {
  readonly model: RowReader
  readonly options: EvalOptions
  readonly data: readonly OpenSource[]
  readonly shotsData: readonly OpenSource[] | undefined
  /** What makes a text of a row's columns; null: a row is what its keys say. */
  readonly text: TextTemplate | null
  /** Null: prompts stand as they are. */
  readonly template: ChatTemplate | null
  /** Template variables for rows that do not set them themselves. */
  readonly templateContext: TemplateContext
  /** Ends the task with its reason. */
  readonly signal?: AbortSignal
  /** Tokens of a row at most. */
  readonly maxLength: number
  /** Called when `maxLength` cut a row. */
  truncated(): void
}

export interface TaskContext extends RowsContext {
  readonly model: EvaluatedModel
  /** What `forgetting` and `change` compare the model with; null: the model without its active adapters. */
  readonly base: EvaluatedModel | null
  /** Called when a row (or window) is done, with its line of `--output` and the result so far. */
  done(line: object, summary?: string): Promise<void>
}

export type RunTask<T extends Task = Task> = (context: TaskContext) => Promise<EvalResults[T]>
