/** Messages to the isolated process, its answers, and the size of a request's work. */
import type { Voice } from '../../common/option-names.js'
import type { BeginningToken } from '../masks/mask-answers.js'
import type { AddedToken } from '../masks/token-marks.js'
import type { TurnTokens } from '../masks/token-spans.js'
import type { TurnCounts } from '../masks/turn-texts.js'
import type { RenderOptions, TemplateContext, TemplateDefinition } from '../templates/compiled-template.js'
import { type Message, textsOf } from '../templates/messages.js'
import type { Encoding, TokenizerDefinition, TokenizerTask } from '../tokenizer/engine.js'

/** Data that many requests use and that is sent once. */
export type Shared = { id: number } & (
  | { template: TemplateDefinition }
  | { tokens: readonly AddedToken[] }
  | { tokenizer: TokenizerDefinition }
)

interface Common {
  /** Whether the request is processed by itself, so that it is known to be the cause if the process ends. */
  alone?: boolean
}

/** Asks for the text of a conversation. */
export type RenderRequest = Common & {
  asks: 'rendering'
  template: number
  messages: readonly Message[]
  options: RenderOptions
  voice: Voice
}

/** Asks for the tokens of a conversation and for its mask. */
export type ChatRequest = Common & {
  asks: 'chat'
  template: number
  messages: readonly Message[]
  context: TemplateContext
  /** Names the row in errors. */
  where: string
  voice: Voice
  tokenizer: number
  /** The tokenizer of texts that follow others. */
  continuation: number
  /** The tokens that the tokenizer finds before anything else. */
  tokens: number
  beginning: BeginningToken
}

type TokenizerRequest = Common & { tokenizer: number } & TokenizerTask

export type EncodingRequest = Common & { tokenizer: number } & Encoding

export type Request = RenderRequest | ChatRequest | TokenizerRequest

/** Requests, with the shared data that was not sent before. */
export interface Asked {
  shared: readonly Shared[]
  requests: readonly Request[]
}

/** `tokens`: the number of the value's ids, which stand in the message's `ids`. */
export type IsolatedAnswer =
  | { value: unknown; tokens?: number }
  | { error: { code: string; message: string; isUsage: boolean } }
  | { fault: string }

/** The value of a conversation, beside its ids. */
export interface ChatValue {
  /** The first token of each trained span and the one after its last. */
  trained: number[]
  turns: TurnTokens[]
  /** Absent if all counts are 0. */
  counts?: TurnCounts
}

/** Answers of requests in order. All ids are in one array, since each array of a message takes time. */
export interface Answers {
  answers: readonly IsolatedAnswer[]
  ids: Int32Array
}

/** Returns the approximate number of characters of a request. */
export function sizeOf(request: Request): number {
  if (request.asks === 'encoded') return request.text.length
  if (request.asks === 'decoded') return request.ids.length
  if (!('messages' in request)) return 0
  let characters = 0
  for (const message of request.messages) for (const text of textsOf(message)) characters += text.length
  return characters
}
