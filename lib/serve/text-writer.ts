/** What the routes need of a writer that writes many texts at once. */

import type { Message } from '../data/templates/template.js'
import type { EngineUsage } from '../engine/index.js'
import type { FirstToken, LanguageModel, TokenText } from '../generate/index.js'
import type { JsonSpacing } from '../options/index.js'

/** A call of a function that a model has written. */
export interface WrittenCall {
  /** The model's own id, where its form has one. */
  readonly id?: string
  readonly name: string
  /** JSON of the arguments, as the model wrote it. */
  readonly argumentsText: string
}

/** A part of a text, as it is written. */
export interface TextPiece {
  readonly text: string
  readonly reasoning?: string
  readonly ids: readonly number[]
  readonly logprobs?: readonly TokenText[]
  /** Calls that are complete. */
  readonly toolCalls?: readonly WrittenCall[]
}

/** A whole text. */
export interface WrittenText extends TextPiece {
  readonly promptTokens: number
  readonly finishReason: 'stop' | 'length' | 'tool_calls' | 'abort'
  /** Log-probabilities of the prompt's tokens; the first has none. */
  readonly promptLogprobs?: readonly (TokenText | FirstToken)[]
}

/** What to write. Options have the names and defaults of `generate`. */
export interface TextCall {
  readonly prompt?: string | readonly number[]
  readonly raw?: boolean
  /** `auto`, or the path of a file. */
  readonly template?: string
  readonly messages?: readonly Message[]
  readonly tools?: unknown[]
  readonly templateOptions?: Record<string, unknown>
  readonly maxNewTokens: number
  readonly minNewTokens?: number
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly minP?: number
  readonly typicalP?: number
  readonly repetitionPenalty?: number
  readonly presencePenalty?: number
  readonly frequencyPenalty?: number
  readonly logitBias?: Record<string, number>
  readonly badWords?: string[]
  readonly noRepeatNgram?: number
  readonly stop?: string[]
  readonly seed: number
  /** Which of several samples of one prompt and seed it is, from 0. */
  readonly sample?: number
  readonly logprobs?: boolean
  readonly topLogprobs?: number
  readonly promptLogprobs?: boolean
  /** A JSON schema that the text fits. */
  readonly schema?: object | boolean
  /** The spacing of the JSON of a schema. */
  readonly jsonSpacing?: JsonSpacing
  readonly grammar?: string
  readonly regex?: string
  readonly choices?: string[]
  readonly adapters?: readonly string[]
  readonly signal?: AbortSignal
}

/** Writes many texts at once. */
export interface TextWriter {
  readonly model: LanguageModel
  readonly usage: EngineUsage
  /** Writes one sample; the generator's return value is the whole. Leaving the loop, or the signal, frees it within a step. */
  stream(call: TextCall): AsyncGenerator<TextPiece, WrittenText>
  /** Returns the pooled states [D] of a text. */
  embed(ids: readonly number[], adapters?: readonly string[]): Promise<Float32Array>
  /** Runs work on the model between two steps. */
  exclusive<Result>(work: () => Promise<Result>): Promise<Result>
  close(): Promise<void>
}
