/** Generates text. */

export type { FinishReason } from '../engine/index.js'
export { GREEDY, type NewToken, type Sampling, type TokenChoice } from '../tensor/operations/sampling.js'
export { Chat, type ChatOptions } from './chat.js'
export {
  type Constraint,
  type ConstraintOptions,
  type ConstraintTokens,
  openConstraint,
} from './constraints/constraint.js'
export {
  drain,
  type FirstToken,
  type GeneratedPiece,
  type GenerateResult,
  type TokenText,
  textOfTokens,
} from './continuation.js'
export { generate, generateStream } from './generate.js'
export { aModel, type BegunPrompt, type GenerateOptions, limitsOf } from './generate-options.js'
export { promptTemplate, promptTokens, requireTokenizer, whyNoRoom } from './prompt.js'
export { stopTokens } from './stops.js'
export { TextEngine } from './text-engine.js'
export { constraintOf } from './text-request.js'
export { continuationText } from './text-stream.js'
