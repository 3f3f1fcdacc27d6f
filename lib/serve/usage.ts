import type { GenerateResult } from '../generate/index.js'

/** Counts the tokens of an answer; a prompt that has several texts counts once. */
export function usageOf(texts: readonly GenerateResult[], textsOfPrompt: number) {
  const prompts = texts.filter((_, index) => index % textsOfPrompt === 0)
  const promptTokens = prompts.reduce((sum, text) => sum + text.promptTokens, 0)
  const newTokens = texts.reduce((sum, { ids }) => sum + ids.length, 0)
  return { prompt_tokens: promptTokens, completion_tokens: newTokens, total_tokens: promptTokens + newTokens }
}
