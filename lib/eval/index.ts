/** Evaluation: how good a model is at a task. */

export type { Scorer } from '../tasks/generate.js'
export type { RowEntry } from '../tasks/task.js'
export type { EvalProgress } from './context.js'
export { type EmbeddingOptions, embeddingsOf } from './embeddings.js'
export { type EvalResult, type EvaluateOptions, evaluate } from './evaluate.js'
export { type ImportanceOptions, importanceMatrix } from './importance.js'
export { requireTargets } from './rows.js'
export { requireScore, type ScoresOptions, scoredTexts, scoresOf } from './scores.js'
