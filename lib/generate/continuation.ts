/** Generates token after token, until a stop or a limit. */

import { type EngineRequest, type FinishReason, type NewToken, tooLong } from '../engine/index.js'
import type { TokenChoice } from '../tensor/operations/sampling.js'
import { requireTokenizer } from './prompt.js'
import type { PromptCache } from './prompt-cache.js'
import { StopStrings } from './stops.js'
import { TextStream, type TextTokenizer } from './text-stream.js'

/** One text to write. */
export interface ContinuationRequest extends EngineRequest {
  /** The text ends before the first of these. */
  readonly stopStrings?: readonly string[]
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
 * Yields generated tokens, a stop token included.
 * @throws UsageError `prompt-too-long`; the reason of an aborted signal
 */
export async function* continueTokens(
  cache: PromptCache,
  { ids, maxNewTokens, sampling, random, stopIds, name = 'The prompt', signal }: EngineRequest,
): AsyncGenerator<NewToken, FinishReason> {
  const { maxPositions } = cache.model.config
  const limit = Math.min(maxNewTokens, maxPositions - ids.length)
  if (limit < 1) throw tooLong(name, ids.length, `the model's ${maxPositions} positions`)
  const choice = (): TokenChoice => ({ ...sampling, uniform: sampling.temperature === 0 ? 0 : random.uniform() })
  let id = await cache.choose(ids, choice(), limit, signal)
  for (let count = 1; ; count++) {
    signal?.throwIfAborted()
    yield { id }
    if (stopIds.has(id)) return 'stop'
    if (count === limit) return 'length'
    signal?.throwIfAborted()
    id = await cache.append(id, choice())
  }
}

/** A piece of generated text: whole characters, and the tokens that were written since the last one. */
export interface GeneratedPiece {
  /** The text: empty if the tokens after the last piece have none. */
  readonly text: string
  /** The tokens. */
  readonly tokens: readonly NewToken[]
}

/** What turns tokens into a text. */
export interface TextFacts {
  readonly tokenizer: TextTokenizer
  /** The prompt. */
  readonly ids: readonly number[]
  readonly stopIds: ReadonlySet<number>
  /** The text ends before the first of these. */
  readonly stopStrings?: readonly string[] | undefined
}

/** Yields generated text in pieces of whole characters; its return value is the complete result. */
export function continueText(
  cache: PromptCache,
  request: ContinuationRequest,
): AsyncGenerator<GeneratedPiece, GenerateResult> {
  return textOfTokens(continueTokens(cache, request), { tokenizer: requireTokenizer(cache.model), ...request })
}

/** Yields the text of generated tokens; its return value is the complete result. */
export async function* textOfTokens(
  tokens: AsyncGenerator<NewToken, FinishReason>,
  { tokenizer, ids: prompt, stopIds, stopStrings = [] }: TextFacts,
): AsyncGenerator<GeneratedPiece, GenerateResult> {
  const start = performance.now()
  const text = new TextStream(tokenizer, prompt)
  const stops = new StopStrings(stopStrings)
  const pieces: string[] = []
  const ids: number[] = []
  let fresh: NewToken[] = []
  const collect = (piece: string): GeneratedPiece => {
    pieces.push(piece)
    const written = fresh
    fresh = []
    return { text: piece, tokens: written }
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
      fresh.push(next.value)
      // A stop token has no text, even where the tokenizer does not call it special.
      const piece = stopIds.has(id) ? '' : stops.push(await text.push(id))
      if (piece !== '') yield collect(piece)
    }
  } finally {
    // Whoever leaves the loop, or finds a stop string, wants no more tokens.
    await tokens.return('stop')
  }
  if (stops.found === undefined) {
    const rest = stops.push(await text.end()) + stops.end()
    if (stops.found !== undefined) finishReason = 'stop'
    if (rest !== '' || fresh.length > 0) yield collect(rest)
  }
  return {
    text: pieces.join(''),
    ids,
    promptTokens: prompt.length,
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
