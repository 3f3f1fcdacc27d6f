/** Messages to the isolated process and its answers, and how much work a request is. */
import type { BeginningToken } from '../masks/mask-answers.js'
import type { AddedToken } from '../masks/token-marks.js'
import type { TurnTokens } from '../masks/token-spans.js'
import type { TurnCounts } from '../masks/turn-counts.js'
import type { RenderOptions, TemplateContext, TemplateDefinition } from '../templates/compiled-template.js'
import { type Message, textsOf } from '../templates/messages.js'
import type { Encoding, TokenizerDefinition, TokenizerTask } from '../tokenizer/engine.js'

/** Data that many requests use and that is sent once. */
export type Shared = { id: number } & (
  | { template: TemplateDefinition }
  | { tokens: readonly AddedToken[] }
  | { tokenizer: TokenizerDefinition }
)

/** `alone`: the work is not done together with that of others, so that the request that ends the process is known. */
interface Common {
  alone?: boolean
}

/** Asks for the text of a conversation. */
export type RenderRequest = Common & {
  asks: 'rendering'
  template: number
  messages: readonly Message[]
  options: RenderOptions
}

/** Asks for the tokens of a conversation and which of them are trained. */
export type ChatRequest = Common & {
  asks: 'chat'
  template: number
  messages: readonly Message[]
  context: TemplateContext
  /** Names the row in errors. */
  where: string
  tokenizer: number
  /** The tokenizer of texts that follow others. */
  continuation: number
  /** The tokens that the tokenizer finds before anything else. */
  tokens: number
  beginning: BeginningToken
}

export type TokenizerRequest = Common & { tokenizer: number } & TokenizerTask

export type EncodingRequest = Common & { tokenizer: number } & Encoding

export type Request = RenderRequest | ChatRequest | TokenizerRequest

/** Requests, with the data they share that was not sent before. */
export interface Asked {
  shared: readonly Shared[]
  requests: readonly Request[]
}

/** `tokens`: the value has as many ids, which are among those of the message. */
export type IsolatedAnswer =
  | { value: unknown; tokens?: number }
  | { error: { code: string; message: string; isUsage: boolean } }
  | { fault: string }

/** The value of a conversation, beside its ids. */
export interface ChatValue {
  /** The first token of each trained span and the one after its last. */
  trained: number[]
  turns: TurnTokens[]
  /** Without them all are 0. */
  counts?: TurnCounts
}

/** Answers of requests in order. All ids are in one array, since each array of a message takes time. */
export interface Answers {
  answers: readonly IsolatedAnswer[]
  ids: Int32Array
}

/** Returns about how many characters a request has. */
export function sizeOf(request: Request): number {
  if (request.asks === 'encoded') return request.text.length
  if (request.asks === 'decoded') return request.ids.length
  if (!('messages' in request)) return 0
  let characters = 0
  for (const message of request.messages) for (const text of textsOf(message)) characters += text.length
  return characters
}
