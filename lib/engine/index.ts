/** Writing many sequences at once. */
export { Engine, type EngineOptions, type EngineUsage } from './engine.js'
export { PAGE } from './pages.js'
export type { EngineRequest, FinishReason, ScoredPrompt } from './request.js'
export { badWordTokens } from './sampling/bad-words.js'
export type { EditOptions } from './sampling/logits-edits.js'
