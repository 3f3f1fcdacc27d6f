/** Generates many sequences at once. */
export { Engine, type EngineOptions, type EngineUsage } from './engine.js'
export { badWordTokens, type EditOptions, requireTokens } from './logits-edits.js'
export { PAGE } from './pages.js'
export type { EngineRequest, FinishReason, ScoredPrompt } from './request.js'
