/** Generating text. */
export { GREEDY, type Sampling, type TokenChoice } from '../tensor/operations/sampling.js'
export { Chat, type ChatOptions } from './chat.js'
export {
  type ContinuationRequest,
  continueText,
  continueTokens,
  drain,
  type FinishReason,
  type GenerateResult,
} from './continuation.js'
export { type GenerateOptions, generate, generateStream } from './generate.js'
export { type LanguageModel, type TokenCache, withAdaptersOf } from './language-model.js'
export { promptTemplate, promptTokens, requireTokenizer } from './prompt.js'
export { PromptCache } from './prompt-cache.js'
export { stopTokens } from './stops.js'
export { continuationText } from './text-stream.js'
