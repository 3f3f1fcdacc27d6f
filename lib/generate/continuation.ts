/** Generates token after token, until a stop or a limit. */

import { UsageError } from '../common/errors.js'
import type { RandomStream } from '../common/random.js'
import type { Sampling, TokenChoice } from '../tensor/operations/sampling.js'
import { requireTokenizer } from './prompt.js'
import type { PromptCache } from './prompt-cache.js'
import { StopStrings } from './stops.js'
import { TextStream } from './text-stream.js'

/** Why generation ended: at a stop token or string, or at the limit of tokens. */
export type FinishReason = 'stop' | 'length'

export interface ContinuationRequest {
  /** The prompt. */
  ids: readonly number[]
  maxNewTokens: number
  sampling: Sampling
  /** The random stream: one number per token, none at temperature 0. */
  random: RandomStream
  stopIds: ReadonlySet<number>
  /** The text ends before the first of these. */
  stopStrings?: readonly string[]
  /** Names the prompt in errors; default `The prompt`. */
  name?: string
  /** Aborting it ends the continuation before the next token with the signal's reason. */
  signal?: AbortSignal
}

/** Result of `generate`. */
export interface GenerateResult {
  /** The generated text, without control tokens. */
  text: string
  /** All generated tokens, including a stop token. */
  ids: number[]
  /** Tokens of the prompt, chat template included. */
  promptTokens: number
  /** Number of `ids`. */
  newTokens: number
  /** `length` means that `maxNewTokens` were generated, or the model has no position left. */
  finishReason: FinishReason
  /** New tokens per second, the time for the prompt included. */
  tokensPerSecond: number
}

/**
 * Yields generated ids, a stop token included.
 * @throws UsageError `prompt-too-long`; the reason of an aborted signal
 */
export async function* continueTokens(
  cache: PromptCache,
  { ids, maxNewTokens, sampling, random, stopIds, name = 'The prompt', signal }: ContinuationRequest,
): AsyncGenerator<number, FinishReason> {
  const { maxPositions } = cache.model.config
  const limit = Math.min(maxNewTokens, maxPositions - ids.length)
  if (limit < 1) {
    throw new UsageError(
      'prompt-too-long',
      `${name} has ${ids.length} tokens, which leaves no room for an answer within the model's ${maxPositions} positions; shorten it.`,
    )
  }
  const choice = (): TokenChoice => ({ ...sampling, uniform: sampling.temperature === 0 ? 0 : random.uniform() })
  let id = await cache.choose(ids, choice(), limit, signal)
  for (let count = 1; ; count++) {
    signal?.throwIfAborted()
    yield id
    if (stopIds.has(id)) return 'stop'
    if (count === limit) return 'length'
    signal?.throwIfAborted()
    id = await cache.append(id, choice())
  }
}

/** Yields generated text in pieces of whole characters; its return value is the complete result. */
export async function* continueText(
  cache: PromptCache,
  request: ContinuationRequest,
): AsyncGenerator<string, GenerateResult> {
  const start = performance.now()
  const text = new TextStream(requireTokenizer(cache.model), request.ids)
  const stops = new StopStrings(request.stopStrings ?? [])
  const pieces: string[] = []
  const ids: number[] = []
  const collect = (piece: string): string => {
    pieces.push(piece)
    return piece
  }
  let finishReason: FinishReason = 'stop'
  const tokens = continueTokens(cache, request)
  while (!stops.found) {
    const next = await tokens.next()
    if (next.done) {
      finishReason = next.value
      break
    }
    ids.push(next.value)
    // A stop token has no text, even where the tokenizer does not call it special.
    const piece = request.stopIds.has(next.value) ? '' : stops.push(await text.push(next.value))
    if (piece !== '') yield collect(piece)
  }
  if (!stops.found) {
    const rest = stops.push(await text.end()) + (stops.found ? '' : stops.end())
    if (stops.found) finishReason = 'stop'
    if (rest !== '') yield collect(rest)
  }
  return {
    text: pieces.join(''),
    ids,
    promptTokens: request.ids.length,
    newTokens: ids.length,
    finishReason,
    tokensPerSecond: ids.length / Math.max((performance.now() - start) / 1000, 1e-6),
  }
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
