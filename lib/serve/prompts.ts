/** Prompts and inputs: a text, token ids, or a list of either. */
import { z } from 'zod'
import { requireTokenizer, whyNoRoom } from '../generate/index.js'
import type { Model } from '../models/index.js'
import { ApiError } from './api-error.js'
import { wrongField } from './fields.js'

type Prompt = string | readonly number[]

export const isId = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0
const isText = (value: unknown) => typeof value === 'string'
const isListOf = (fits: (value: unknown) => boolean) => (value: unknown) =>
  Array.isArray(value) && value.length > 0 && value.every(fits)
const forms = [isText, isListOf(isText), isListOf(isId), isListOf(isListOf(isId))]

/** Checked by hand, since a body may hold millions of ids or prompts. */
export const promptsField = z.custom<string | string[] | number[] | number[][]>(
  (value) => forms.some((fits) => fits(value)),
  { error: 'a text, a list of texts, a list of token ids, or a list of such lists, none of them empty,' },
)

/** Token ids. */
export const idsField = z.custom<number[]>(isListOf(isId), { error: 'a list of token ids that is not empty' })

/** Returns the prompts that a field has. @throws ApiError 400 for ids that the model has no token for */
export function promptsOf(given: z.output<typeof promptsField>, param: string, model: Model): Prompt[] {
  const prompts = typeof given === 'string' ? [given] : typeof given[0] === 'number' ? [given as number[]] : given
  for (const prompt of prompts as Prompt[]) {
    if (typeof prompt !== 'string') requireIds(prompt, param, model)
  }
  return prompts as Prompt[]
}

/** @throws ApiError 400 for ids that the model has no token for */
export function requireIds(ids: readonly number[], param: string, { config }: Model): void {
  const odd = ids.find((id) => id >= config.vocabularySize)
  if (odd === undefined) return
  throw wrongField(param, `Expected token ids below ${config.vocabularySize} in ${param} but received ${odd}.`)
}

/** Refuses texts that cannot fit the model, before anything encodes them in a process that all requests share. @throws ApiError 400 */
export function requireRoom(texts: readonly Prompt[], param: string, model: Model): void {
  const why = whyNoRoom(texts, model)
  if (why !== null) throw new ApiError(400, why, { param, code: 'context_length_exceeded' })
}

/** Returns the ids of a prompt, with BOS by the tokenizer's own rule. */
export async function idsOf(prompt: Prompt, model: Model, signal: AbortSignal): Promise<readonly number[]> {
  return typeof prompt === 'string' ? requireTokenizer(model).encodeText(prompt, signal) : prompt
}
