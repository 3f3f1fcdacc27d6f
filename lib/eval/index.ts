/** Evaluation: how good a model is at a task. */

export { type EvaluateOptions, evaluate } from './evaluate.js'
export { extractAnswer, isSameAnswer } from './exact-match.js'
export { type ImportanceOptions, type ImportanceResult, importanceMatrix } from './importance.js'
export { requireTargets } from './rows.js'
export type {
  ChangeResult,
  ChoicesResult,
  EvalProgress,
  EvalResults,
  EvaluatedModel,
  ExactMatchResult,
  ForgettingResult,
  LogitsOfTargets,
  LogProbsResult,
  PerplexityResult,
  RecallResult,
} from './task.js'
