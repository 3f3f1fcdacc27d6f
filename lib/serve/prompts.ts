/** Prompts and inputs: a text, token ids, or a list of either. */
import { z } from 'zod'
import { type LanguageModel, requireTokenizer } from '../generate/index.js'
import { ApiError } from './api-error.js'
import { wrongField } from './fields.js'

const isId = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0
const isText = (value: unknown) => typeof value === 'string'
const isListOf = (fits: (value: unknown) => boolean) => (value: unknown) =>
  Array.isArray(value) && value.length > 0 && value.every(fits)
const forms = [isText, isListOf(isText), isListOf(isId), isListOf(isListOf(isId))]

/** Checked by hand, since a body may hold millions of ids or prompts. */
export const promptsField = z.custom<string | string[] | number[] | number[][]>(
  (value) => forms.some((fits) => fits(value)),
  { error: 'a text, a list of texts, a list of token ids, or a list of such lists' },
)

export type GivenPrompt = string | readonly number[]

/** Returns the prompts that a field has. @throws ApiError 400 for ids that the model has no token for */
export function promptsOf(
  given: z.output<typeof promptsField>,
  param: string,
  { config }: LanguageModel,
): GivenPrompt[] {
  const prompts = typeof given === 'string' ? [given] : typeof given[0] === 'number' ? [given as number[]] : given
  for (const prompt of prompts as GivenPrompt[]) {
    if (typeof prompt === 'string') continue
    const odd = prompt.find((id) => id >= config.vocabularySize)
    if (odd === undefined) continue
    throw wrongField(param, `Expected token ids below ${config.vocabularySize} in ${param} but received ${odd}.`)
  }
  return prompts as GivenPrompt[]
}

/**
 * Refuses texts that cannot fit the model, whatever their tokens are, before anything encodes them: that takes seconds, in a process
 * that all requests share.
 * @throws ApiError 400
 */
export function requireRoomFor(texts: readonly GivenPrompt[], param: string, model: LanguageModel): void {
  const { maxPositions } = model.config
  const longest = model.tokenizer?.longestToken ?? 1
  let [bytes, ids] = [0, 0]
  for (const text of texts) {
    if (typeof text === 'string') bytes += Buffer.byteLength(text)
    else ids += text.length
  }
  if (bytes <= maxPositions * longest && ids <= maxPositions) return
  const given = ids > 0 ? `${ids} tokens` : `${bytes} bytes`
  const room = ids > 0 ? '' : ` tokens of at most ${longest} bytes each`
  throw new ApiError(400, `The text has ${given}, and the model reads at most ${maxPositions}${room}.`, {
    param,
    code: 'context_length_exceeded',
  })
}

/** Returns the ids of a prompt, with BOS by the tokenizer's own rule. */
export async function idsOf(
  prompt: GivenPrompt,
  model: LanguageModel,
  signal: AbortSignal,
): Promise<readonly number[]> {
  return typeof prompt === 'string' ? requireTokenizer(model).encodeText(prompt, signal) : prompt
}

/** @throws ApiError 400 for a text that the model cannot read as a whole */
export function requireRoom(tokens: number, param: string, { config }: LanguageModel): void {
  if (tokens === 0) throw wrongField(param, `Expected some text for ${param} but received none.`)
  if (tokens <= config.maxPositions) return
  throw new ApiError(400, `The text has ${tokens} tokens, and the model reads at most ${config.maxPositions}.`, {
    param,
    code: 'context_length_exceeded',
  })
}
