/** Evaluation: how good a model is at a task. */

export { type EmbeddingOptions, embeddingsOf } from './embeddings.js'
export { type EvaluateOptions, evaluate } from './evaluate.js'
export { type ImportanceOptions, type ImportanceResult, importanceMatrix } from './importance.js'
export { requireTargets } from './rows.js'
export type { Scorer } from './scorer.js'
export { type ScoresOptions, scoresOf } from './scores.js'
export type {
  AccuracyResult,
  ChangeResult,
  ChoicesResult,
  ClassifyResult,
  CountedResult,
  DetailedResult,
  EmbedResult,
  EvalProgress,
  EvalResults,
  ExactMatchResult,
  F1Result,
  ForgettingResult,
  Gsm8kResult,
  LogProbsResult,
  MathResult,
  MmluResult,
  NerResult,
  PerplexityResult,
  RecallResult,
  RewardResult,
  RowEntry,
  ScoreResult,
} from './task.js'
