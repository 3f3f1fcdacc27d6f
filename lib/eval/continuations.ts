/** Tokens of prompts and of the texts that continue them. */
import { strip } from '../text/python/methods.js'
import type { Tokenizer } from '../text/tokenizer.js'

/** A prompt and what may follow it, as ids. */
interface Pair {
  context: number[]
  continuation: number[]
}

type Encoder = Partial<Pick<Tokenizer, 'bosId' | 'eosId'>> & Pick<Tokenizer, 'encode' | 'encodeText'>

/**
 * Returns the ids of a context and of a text that continues it, as lm-evaluation-harness has them. White space at the end of the
 * context belongs to the continuation. Both are tokenised as one text; the continuation's ids are
 * all but the first n, where n is the number of ids of the context alone. They differ from the ids of the continuation alone where
 * a token spans both. An empty context is BOS, or EOS without it.
 */
export async function pairTokens(
  tokenizer: Encoder,
  context: string,
  continuation: string,
  signal?: AbortSignal,
): Promise<Pair> {
  const stripped = strip(context, undefined, 'end')
  const rest = context.slice(stripped.length) + continuation
  if (context === '') {
    const ids = await tokenizer.encode(rest, signal)
    const first = tokenizer.bosId ?? tokenizer.eosId
    return ids[0] === first || first === undefined
      ? { context: ids.slice(0, 1), continuation: ids.slice(1) }
      : { context: [first], continuation: ids }
  }
  const [whole, own] = await Promise.all([stripped + rest, stripped].map((text) => tokenizer.encodeText(text, signal)))
  return { context: own!, continuation: whole!.slice(own!.length) }
}

/** Like `pairTokens`, by AdaptLLM's rules: without BOS, and white space at the end of the context stays there. */
export async function plainPairTokens(
  tokenizer: Encoder,
  context: string,
  continuation: string,
  signal?: AbortSignal,
): Promise<Pair> {
  const [whole, own] = await Promise.all(
    [context + continuation, context].map((text) => tokenizer.encode(text, signal)),
  )
  return { context: own!, continuation: whole!.slice(own!.length) }
}
