/** What every task of an evaluation gets, and what it gives. */
import type { Batch } from '../data/batch.js'
import type { ChatTemplate, TemplateContext } from '../data/templates/template.js'
import type { LanguageModel } from '../generate/index.js'
import type { EvalOptions, Task } from '../options/index.js'

/** What an evaluation needs of a model. `Model` fits; so do fakes. */
export interface EvaluatedModel extends LanguageModel {
  /** Natural log-probability of every target of the batch, in order. */
  tokenLogProbs(batch: Batch): Promise<Float32Array>
  setDropout(key: null): void
  /** Only these adapters take part from now on. For `forgetting` without `base`. */
  setActiveAdapters?(names: readonly string[]): void
}

export interface EvalProgress {
  /** Rows done; of a text, windows. */
  done: number
  /** How many there will be at most, where `limit` says so; else null. */
  total: number | null
  /** One short phrase on the result so far, such as `accuracy 0.25`; empty where there is none. */
  summary: string
}

export interface LogProbsResult {
  rows: { ids: number[]; logprobs: number[] }[]
}

export interface PerplexityResult {
  perplexity: number
  /** Mean negative log-probability of the targets, natural. */
  loss: number
  /** Tokens read. */
  tokens: number
  /** Tokens predicted. */
  targets: number
}

export interface ExactMatchResult {
  correct: number
  rows: number
  /** A fraction, as every accuracy. */
  accuracy: number
}

export interface ChoicesResult {
  accuracy: number
  /** Accuracy of each subject; empty where rows name none. */
  bySubject: Record<string, number>
}

export interface RecallResult {
  /** Characters at their right place, over all characters of all completions. */
  characterAccuracy: number
  /** Rows whose completion came out whole. */
  exactAccuracy: number
}

export interface ForgettingResult {
  /** `after` less `before`: positive where the model has become worse at the text. */
  forgetting: number
  /** Mean negative log-probability of the targets, natural, of the model before. */
  before: number
  /** The same of the model with its active adapters. */
  after: number
  /** Tokens read. */
  tokens: number
  /** Tokens predicted. */
  targets: number
}

export interface EvalResults extends Record<Task, object> {
  logprobs: LogProbsResult
  perplexity: PerplexityResult
  'exact-match': ExactMatchResult
  choices: ChoicesResult
  recall: RecallResult
  forgetting: ForgettingResult
}

export interface TaskContext {
  readonly model: EvaluatedModel
  /** What `forgetting` compares the model with; null: the model without its active adapters. */
  readonly base: EvaluatedModel | null
  readonly options: EvalOptions & { readonly data: readonly string[] }
  /** Null: prompts stand as they are. */
  readonly template: ChatTemplate | null
  /** What the template is told of rows that do not say it themselves. */
  readonly templateContext: TemplateContext
  /** Ends the task with its reason. */
  readonly signal?: AbortSignal
  /** Tokens of a row at most. */
  readonly maxLength: number
  /** One row (or window) is done: its line of `--output`, and how far the result is. */
  done(line: object, summary?: string): Promise<void>
  /** A row lost a part to `maxLength`. */
  truncated(): void
}

export type RunTask<T extends Task = Task> = (context: TaskContext) => Promise<EvalResults[T]>
