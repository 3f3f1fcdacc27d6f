/** Turns generated tokens into text, until a stop. */

import type { EngineRequest, FinishReason } from '../engine/index.js'
import type { NewToken, RankedToken } from '../tensor/operations/sampling.js'
import type { Tokenizer } from '../text/tokenizer.js'
import type { ToolCall } from '../text/tool-calls/calls.js'
import type { AnswerDelta, AnswerReader } from '../text/tool-calls/reader.js'
import type { Constraint } from './constraints/constraint.js'
import { StopStrings } from './stops.js'
import { TextStream } from './text-stream.js'

/** A text to generate: the engine's request, and how its tokens become text. */
export interface TextRequest extends EngineRequest {
  /** Null for a model without a tokenizer, whose texts are empty. */
  readonly tokenizer: Tokenizer | null
  /** The text ends before the first of these. */
  readonly stopStrings: readonly string[]
  /** Whether the string or token that ends the text is a part of it. */
  readonly includeStop?: boolean
  /** Separates thoughts and calls from the text. */
  readonly reader?: AnswerReader | undefined
  /** Number of likeliest tokens to list with the log-probability of each prompt token; undefined: no log-probabilities. */
  readonly promptTop: number | undefined
  /** Disposed after the last token. */
  readonly constraint: Constraint | undefined
}

/** Result of `generate`. */
export interface GenerateResult {
  /** The generated text, without control tokens; empty if the model has no tokenizer. */
  text: string
  /** All generated tokens, including a stop token. */
  ids: number[]
  /** Tokens of the prompt, chat template included. */
  promptTokens: number
  /** Number of `promptTokens` whose keys and values came from the prefix cache; absent if none did. */
  cachedTokens?: number
  /** Number of `ids`. */
  newTokens: number
  /** Number of `ids` that are reasoning, its tags included; absent if none are separated from the text. */
  reasoningTokens?: number
  /** `length` means that `maxNewTokens` were generated, or the model has no position left; `tool_calls` that the text calls functions. */
  finishReason: FinishReason | 'tool_calls'
  /** The string of `stop` that ended the text; absent if none did. */
  stopString?: string
  /** The model's reasoning, if it is separated from the text. */
  reasoning?: string
  /** Function calls, if they are separated from the text; absent if there are none. */
  toolCalls?: ToolCall[]
  /** New tokens per second, the time for the prompt included. */
  tokensPerSecond: number
  /** Log-probabilities of `ids`, if requested. */
  logprobs?: TokenText[]
  /** Log-probabilities of the prompt's tokens, if requested; the first token has none. */
  promptLogprobs?: (TokenText | FirstToken)[]
}

/** A piece of generated text: whole characters, and the tokens since the last piece. */
export interface GeneratedPiece {
  /** The text; empty if the tokens have none. */
  readonly text: string
  /** More of the model's reasoning, if it is separated from the text. */
  readonly reasoning?: string
  /** Function calls that this piece completes. */
  readonly toolCalls?: readonly ToolCall[]
  /** The tokens since the last piece. */
  readonly ids: readonly number[]
  /** Log-probabilities, if requested. */
  readonly logprobs?: readonly TokenText[]
}

/** The first token of a prompt, which has no log-probability. */
export interface FirstToken extends Pick<TokenText, 'id' | 'token'> {
  /** Always null. */
  readonly logprob: null
}

/** A token, its text alone, and its log-probability before any option of sampling. */
export interface TokenText {
  /** Id. */
  readonly id: number
  /** Text: U+FFFD for a part of a character. */
  readonly token: string
  /** Natural log-probability. */
  readonly logprob: number
  /** The likeliest tokens in its place, the likeliest first. */
  readonly top: readonly Omit<TokenText, 'top'>[]
}

/** Yields the text of generated tokens; its return value is the complete result. */
export async function* textOfTokens(
  tokens: AsyncGenerator<NewToken, FinishReason>,
  request: Pick<TextRequest, 'tokenizer' | 'ids' | 'stopIds' | 'stopStrings' | 'includeStop' | 'edits' | 'reader'>,
): AsyncGenerator<GeneratedPiece, GenerateResult> {
  const { tokenizer, ids: prompt, stopIds, stopStrings, includeStop = false, edits, reader } = request
  const start = performance.now()
  const text = tokenizer && new TextStream(tokenizer, prompt, { keepsSpecial: reader !== undefined })
  const stops = new StopStrings(stopStrings, { minNewTokens: edits?.minNewTokens, includeStop })
  const whole = { text: '', reasoning: '', toolCalls: [] as ToolCall[] }
  let reasoningTokens = 0
  /** Tokens whose text the reader holds back: they may begin a tag of reasoning. */
  let held = 0
  const ids: number[] = []
  const logprobs: TokenText[] = []
  const yielded = { ids: 0, logprobs: 0 }
  /** Returns a piece with the new tokens; null if there is nothing to show. */
  const pieceOf = (content: string, delta: Partial<AnswerDelta>): GeneratedPiece | null => {
    const { reasoning = '', toolCalls = [] } = delta
    if (content === '' && reasoning === '' && toolCalls.length === 0) return null
    whole.text += content
    whole.reasoning += reasoning
    whole.toolCalls.push(...toolCalls)
    return {
      text: content,
      ...(reasoning && { reasoning }),
      ...(toolCalls.length > 0 && { toolCalls }),
      ...newTokens(),
    }
  }
  const newTokens = () => {
    const probabilities = logprobs.slice(yielded.logprobs)
    const piece = { ids: ids.slice(yielded.ids), ...(probabilities.length > 0 && { logprobs: probabilities }) }
    Object.assign(yielded, { ids: ids.length, logprobs: logprobs.length })
    return piece
  }
  const read = (decoded: string, tokens = 1): Partial<AnswerDelta> => {
    if (!reader) return { content: decoded }
    const wasReasoning = reader.isReasoning
    const delta = reader.push(decoded)
    held += tokens
    if (wasReasoning || reader.isReasoning || delta.reasoning !== '') reasoningTokens += held
    else if (delta.content === '') return delta
    held = 0
    return delta
  }
  let finishReason: FinishReason = 'stop'
  try {
    while (stops.found === undefined) {
      const next = await tokens.next()
      if (next.done) {
        finishReason = next.value
        break
      }
      const { id } = next.value
      ids.push(id)
      const { logprob, top = [] } = next.value
      if (logprob !== undefined) logprobs.push(await tokenText({ id, logprob, top }, tokenizer))
      // A stop token has no text, even where the tokenizer does not call it special.
      const delta = (stopIds.has(id) && !includeStop) || !text ? {} : read(await text.push(id))
      const piece = pieceOf(stops.push(delta.content ?? ''), delta)
      if (piece) yield piece
    }
  } finally {
    // A stop string, or a caller that leaves the loop, cancels the sequence.
    await tokens.return('stop')
  }
  if (stops.found === undefined) {
    const rest = read(text ? await text.end() : '', 0)
    const last = reader?.end()
    const content = (rest.content ?? '') + (last?.content ?? '')
    const delta = {
      reasoning: (rest.reasoning ?? '') + (last?.reasoning ?? ''),
      toolCalls: [...(rest.toolCalls ?? []), ...(last?.toolCalls ?? [])],
    }
    const piece = pieceOf(stops.push(content) + stops.end(), delta)
    if (stops.found !== undefined) finishReason = 'stop'
    if (piece) yield piece
    else if (yielded.ids < ids.length) yield { text: '', ...newTokens() }
  }
  const { reasoning, toolCalls } = whole
  return {
    text: whole.text,
    ids,
    promptTokens: prompt.length,
    newTokens: ids.length,
    ...(reasoningTokens > 0 && { reasoningTokens }),
    finishReason: toolCalls.length > 0 && finishReason === 'stop' ? 'tool_calls' : finishReason,
    ...(stops.found !== undefined && { stopString: stops.found }),
    tokensPerSecond: ids.length / Math.max((performance.now() - start) / 1000, 1e-6),
    ...(reasoning !== '' && { reasoning }),
    ...(toolCalls.length > 0 && { toolCalls }),
    ...(logprobs.length > 0 && { logprobs }),
  }
}

/** Adds the texts of a ranked token and of the likeliest tokens in its place, each decoded alone. */
export async function tokenText(
  { id, logprob, top }: Omit<RankedToken, 'rank'>,
  tokenizer: Tokenizer | null,
): Promise<TokenText> {
  const listed = top.map(async (one) => ({ ...one, token: await textOfToken(one.id, tokenizer) }))
  return { id, token: await textOfToken(id, tokenizer), logprob, top: await Promise.all(listed) }
}

/** Decoded texts of single tokens, by tokenizer. */
const textsOfTokens = new WeakMap<Tokenizer, Map<number, Promise<string>>>()

/** Returns the text of a token alone; the first time, another process decodes it. */
export function textOfToken(id: number, tokenizer: Tokenizer | null): Promise<string> {
  if (!tokenizer) return Promise.resolve('')
  const texts = textsOfTokens.get(tokenizer) ?? new Map<number, Promise<string>>()
  textsOfTokens.set(tokenizer, texts)
  const known = texts.get(id)
  if (known) return known
  const text = tokenizer.decode([id])
  texts.set(id, text)
  text.catch(() => texts.delete(id))
  return text
}

/** Passes on the pieces of a stream and returns its result. */
export async function drain<Piece, Result>(
  stream: AsyncGenerator<Piece, Result>,
  onPiece: (piece: Piece) => void = () => {},
): Promise<Result> {
  for (;;) {
    const next = await stream.next()
    if (next.done) return next.value
    onPiece(next.value)
  }
}
