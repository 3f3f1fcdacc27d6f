/** Evaluation: how good a model is at a task. */
export { extractAnswer, isSameAnswer } from './answers.js'
export { type EvaluateOptions, evaluate } from './evaluate.js'
export { type ImportanceOptions, type ImportanceResult, importanceMatrix } from './importance.js'
export { requireRows } from './require-rows.js'
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
