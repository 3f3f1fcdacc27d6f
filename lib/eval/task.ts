/** What all evaluation tasks have in common: their inputs and results. */
import type { EncodedRow } from '../data/encode.js'
import type { RowReading } from '../data/rows/reading.js'
import type { OpenSource } from '../data/sources/open.js'
import type { ChatTemplate, Message, TemplateContext } from '../data/templates/template.js'
import type { LoadedModel, ModelView } from '../models/index.js'
import type { EvalOptions, Task } from '../options/index.js'

/** Progress of an evaluation. */
export interface EvalProgress {
  /** Rows done so far, or for a text windows. */
  done: number
  /** The number of rows, if they are all read first; else the largest possible `done`, if `limit` is set; else null. */
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

/** What a task finds of one row: a line of `output`, and with `details` an entry of the result's `rows`. */
export interface RowEntry {
  /** The prompt as plain text, also where it was asked in turns of a chat; the conversation or the ids of a row that is one or has these. */
  prompt: string | readonly Message[] | readonly number[]
  /** The text that was scored. */
  text?: string
  /** The reference answer, or the index of the right choice. */
  answer?: string | number
  /** The answer that was found in the text; null if there is none. */
  extracted?: string | null
  /** Index of the choice with the highest log-probability. */
  predicted?: number
  /** Natural log-probability of each choice, summed over its tokens. */
  logLikelihoods?: readonly number[]
  /** The row's subject. */
  subject?: string
  /** The score by the task's rule. */
  score: number
  /** Further verdicts by name. */
  [name: string]: unknown
}

/** Figures over all rows. */
export interface Measures {
  /** The figure that is published for the task: the accuracy, or for some tasks an F1. */
  score: number
  /** Further figures by name. */
  [name: string]: number | Readonly<Record<string, number>>
}

/** What every task that scores rows returns. */
export interface ScoreResult<T extends Task = Task> {
  /** The task. */
  task: T
  /** Number of rows; with `details`, an entry for each. */
  rows: number | readonly RowEntry[]
  /** The figure that is published for the task: the accuracy, or for some tasks an F1. */
  score: number
}

/** A task whose figure is the share of right rows. */
export interface AccuracyResult<T extends Task = Task> extends ScoreResult<T> {
  /** Share of right rows, a fraction. */
  accuracy: number
}

/** Result of the task `exact-match`. */
export interface ExactMatchResult extends AccuracyResult<'exact-match'> {
  /** Rows whose answer is the expected one. */
  correct: number
}

/** Result of the task `choices`. */
export interface ChoicesResult extends AccuracyResult<'choices'> {
  /** Accuracy by subject; empty if rows name none. */
  bySubject: Record<string, number>
  /** Of whole choices: accuracy if log-probabilities are divided by the choice's characters. */
  perCharacter?: number
  /** The same divided by its bytes in UTF-8. */
  perByte?: number
  /** The same divided by its tokens. */
  perToken?: number
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

/** Result of the tasks `gsm8k` and `gsm8k-cot`. */
export interface Gsm8kResult<T extends Task = Task> extends AccuracyResult<T> {
  /** Share of right rows by the filter `strict-match` of lm-evaluation-harness. */
  strict: number
  /** The same by its filter `flexible-extract`. */
  flexible: number
  /** The same by MetaMath's rule. */
  metamath: number
}

/** Result of the task `math`. */
export interface MathResult extends AccuracyResult<'math'> {
  /** Share of right rows by MetaMath's rule. */
  metamath: number
}

/** Result of the task `mmlu`. */
export interface MmluResult extends AccuracyResult<'mmlu'> {
  /** Accuracy by subject. */
  accuracyBySubject: Record<string, number>
  /** The plain mean of these. */
  meanOfSubjects: number
}

/** Result of the tasks `fpb`, `fiqa` and `headline`, whose `score` is the F1. */
export interface F1Result<T extends Task = Task> extends AccuracyResult<T> {
  /** F1 of the classes, weighted by their rows; of `headline` the mean of that over its nine questions. */
  weightedF1: number
}

/** Result of the task `ner`, whose `score` is the F1. */
export interface NerResult extends ScoreResult<'ner'> {
  /** Mean F1 of a row's entities, half by their words and half by their types. */
  f1: number
}

/** Result of the task `classify`. */
export interface ClassifyResult {
  /** Share of right rows, a fraction. */
  accuracy: number
  /** Mean of the F1 of the labels that rows have or are taken for. */
  macroF1: number
  /** F1 of each of these labels. */
  f1: Record<string, number>
  /**
   * Area under the ROC curve: of two labels that of the second, else the mean of each label's against the rest; null if all rows have
   * one label.
   */
  auc: number | null
  /** Number of rows. */
  rows: number
}

/** Result of the task `reward`. */
export interface RewardResult {
  /** Share of pairs whose chosen answer has the higher score, a fraction. */
  accuracy: number
  /** Mean of the chosen answer's score less the rejected one's. */
  margin: number
  /** Number of pairs. */
  rows: number
}

/** Result of the task `embed`. */
export interface EmbedResult {
  /** Of related texts: the mean over anchors of the normalised discounted gain of the ten nearest texts (nDCG@10). */
  ndcgAt10?: number
  /** Of scored pairs: Spearman's correlation of cosines and scores; null if one of both does not vary. */
  spearman?: number | null
  /** Number of rows. */
  rows: number
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
  /** How well a classifier tells the labels of texts. */
  classify: ClassifyResult
  /** How often a reward model scores the chosen of two answers higher. */
  reward: RewardResult
  /** How well embeddings find what belongs together. */
  embed: EmbedResult
  /** GSM8K: word problems. */
  gsm8k: Gsm8kResult<'gsm8k'>
  /** GSM8K with solutions that end in "The answer is 18." */
  'gsm8k-cot': Gsm8kResult<'gsm8k-cot'>
  /** MATH: competition problems. */
  math: MathResult
  /** MMLU: knowledge of 57 subjects. */
  mmlu: MmluResult
  /** PubMedQA: questions about abstracts. */
  pubmedqa: AccuracyResult<'pubmedqa'>
  /** MedQA: questions of the USMLE. */
  medqa: AccuracyResult<'medqa'>
  /** MedMCQA: questions of Indian medical entrance exams. */
  medmcqa: AccuracyResult<'medmcqa'>
  /** PubMed RCT: the role of a sentence in an abstract. */
  rct: AccuracyResult<'rct'>
  /** Financial PhraseBank: the sentiment of news. */
  fpb: F1Result<'fpb'>
  /** FiQA: the sentiment of financial headlines and posts. */
  fiqa: F1Result<'fiqa'>
  /** Headline: questions about headlines on gold. */
  headline: F1Result<'headline'>
  /** Names in financial agreements and their types. */
  ner: NerResult
  /** ConvFinQA: figures of financial reports. */
  convfinqa: AccuracyResult<'convfinqa'>
  /** Texts scored by a function; the accuracy is the mean of its scores. */
  generate: AccuracyResult<'generate'>
}

/** The result of a task, with an entry for each row if it scores any: what `details` asks for. */
export type DetailedResult<T extends Task> = EvalResults[T] extends ScoreResult
  ? Omit<EvalResults[T], 'rows'> & {
      /** An entry for each row. */
      rows: readonly RowEntry[]
    }
  : EvalResults[T]
/** The result of a task, with the number of rows if it scores any. */
export type CountedResult<T extends Task> = EvalResults[T] extends ScoreResult
  ? Omit<EvalResults[T], 'rows'> & {
      /** Number of rows. */
      rows: number
    }
  : EvalResults[T]

/** What a task reads. */
export interface OpenData {
  readonly options: EvalOptions
  readonly data: readonly OpenSource[]
  readonly shotsData: readonly OpenSource[] | undefined
  readonly reading: RowReading
  /** Aborting it ends the task with its reason. */
  readonly signal?: AbortSignal
}

/** What a task needs that may run without a model. */
export interface DataContext extends OpenData {
  /** Called when all rows have been read, before the first is asked. */
  found(rows: number): void
  /** Called when a row (or window) is done, with its line of `--output` and the result so far. */
  done(line: object, summary?: string): Promise<void>
}

/** The input of a task that turns rows into tokens. */
export interface RowsContext extends OpenData {
  readonly model: Pick<ModelView, 'path' | 'config' | 'tokenizer' | 'adapterSet'>
  /** If null, prompts are used without a template. */
  readonly template: ChatTemplate | null
  /** Template variables for rows without their own. */
  readonly templateContext: TemplateContext
  /** Largest number of tokens of a row. */
  readonly maxLength: number
  /** Called when a row has become tokens. */
  encoded(row: EncodedRow): void
}

export interface TaskContext extends RowsContext, DataContext {
  readonly model: ModelView
  /** The model before, for `forgetting` and `change`; null means the model without its active adapters. */
  readonly base: LoadedModel | null
  /** Returns the end of a prompt that leaves room for `more` tokens within the model's positions. */
  cut(ids: readonly number[], more: number): readonly number[]
}

export type RunTask<T extends Task = Task> = (context: TaskContext) => Promise<EvalResults[T]>

/** What a task found: an entry for each row, and figures over all. */
export interface Measured {
  entries: readonly RowEntry[]
  measures: Measures
}
