/** Generates the texts of a request concurrently. */
import { ItemQueue } from '../common/item-queue.js'
import type { BegunPrompt, GeneratedPiece, GenerateOptions, GenerateResult, TextEngine } from '../generate/index.js'
import type { ActiveRequest } from './active-requests.js'

/** The texts of a request. */
export interface RequestedTexts {
  /** The options of each text. */
  readonly calls: readonly GenerateOptions[]
  /** Number of texts of each prompt, which are neighbours in `calls`. */
  readonly n: number
}

/** The beginning of one of several texts with its prompt, a piece of it, or its end. */
export type TextEvent =
  | { readonly index: number; readonly prompt: BegunPrompt }
  | { readonly index: number; readonly piece: GeneratedPiece }
  | { readonly index: number; readonly whole: GenerateResult }

/**
 * Yields pieces of all texts as they come, and each complete text. Ends the request. Texts are generated to their end and free their slots
 * whether or not the next event is read: a client that does not read makes no other wait.
 */
export async function* writeTexts(
  engine: TextEngine,
  { calls, n }: RequestedTexts,
  active: ActiveRequest,
): AsyncGenerator<TextEvent> {
  const { signal, used, metrics } = active
  const events = new ItemQueue<TextEvent, void>()
  let running = calls.length
  const write = async (call: GenerateOptions, index: number) => {
    const onBegin = (prompt: BegunPrompt) => events.push({ index, prompt })
    const text = engine.stream({ ...call, adapters: used.adapters, signal, onBegin }, index % n)
    try {
      let next = await text.next()
      for (; !next.done; next = await text.next()) {
        active.begin()
        events.push({ index, piece: next.value })
      }
      const whole = next.value
      active.begin()
      metrics.promptTokens += whole.promptTokens
      metrics.newTokens += whole.ids.length
      active.free()
      events.push({ index, whole })
      if (--running === 0) events.finish()
    } catch (error) {
      events.fail(error)
      // The others end, too, even if no event is read.
      active.abort(error)
    }
  }
  const writing = calls.map(write)
  try {
    yield* events.read()
  } finally {
    active.end()
    await Promise.all(writing)
  }
}

/** Returns the texts of a request once all are complete. */
export async function wholeTexts(
  engine: TextEngine,
  texts: RequestedTexts,
  active: ActiveRequest,
): Promise<GenerateResult[]> {
  const wholes: GenerateResult[] = []
  for await (const event of writeTexts(engine, texts, active)) if ('whole' in event) wholes[event.index] = event.whole
  return wholes
}

/** Counts the tokens of a response; a prompt that has several texts counts once. */
export function usageOf(texts: readonly GenerateResult[], textsOfPrompt: number) {
  const prompts = texts.filter((_, index) => index % textsOfPrompt === 0)
  const promptTokens = prompts.reduce((sum, text) => sum + text.promptTokens, 0)
  const newTokens = texts.reduce((sum, { ids }) => sum + ids.length, 0)
  const cachedTokens = prompts.reduce((sum, text) => sum + (text.cachedTokens ?? 0), 0)
  const reasoningTokens = texts.reduce((sum, text) => sum + (text.reasoningTokens ?? 0), 0)
  return {
    prompt_tokens: promptTokens,
    completion_tokens: newTokens,
    total_tokens: promptTokens + newTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    completion_tokens_details: { reasoning_tokens: reasoningTokens },
  }
}
