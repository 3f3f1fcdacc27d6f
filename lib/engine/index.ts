/** Writing many sequences at once. */
export { Engine, type EngineOptions, type EngineRequest, type EngineUsage, tooLong } from './engine.js'
export type { FinishReason, NewToken } from './token-queue.js'
