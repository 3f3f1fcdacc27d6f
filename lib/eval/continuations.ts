/** Scores and generates continuations of prompts. */
import { randomStream } from '../common/random.js'
import { strip } from '../data/templates/jinja/methods.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { Engine, EngineRequest } from '../engine/index.js'
import { drain, GREEDY } from '../generate/index.js'

/** A prompt and what may follow it, as ids. */
export interface Pair {
  context: number[]
  continuation: number[]
}

type Encoder = Partial<Pick<Tokenizer, 'bosId' | 'eosId'>> & Pick<Tokenizer, 'encode' | 'encodeText'>

/**
 * Returns the ids of a context and of a text that continues it, as lm-evaluation-harness has them. White space at the end of the
 * context belongs to the continuation. Both are tokenised as one text; the continuation has those ids that remain after as many as
 * the context alone has, so they differ from the ids of its text where a token spans both. An empty context is BOS, or EOS without it.
 */
export async function pairTokens(
  tokenizer: Encoder,
  context: string,
  continuation: string,
  signal?: AbortSignal,
): Promise<Pair> {
  const kept = strip(context, undefined, 'end')
  const rest = context.slice(kept.length) + continuation
  if (context === '') {
    const ids = await tokenizer.encode(rest, signal)
    const first = tokenizer.bosId ?? tokenizer.eosId
    return ids[0] === first || first === undefined
      ? { context: ids.slice(0, 1), continuation: ids.slice(1) }
      : { context: [first], continuation: ids }
  }
  const [whole, own] = await Promise.all([kept + rest, kept].map((text) => tokenizer.encodeText(text, signal)))
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

/** A stream that greedy sampling never reads. */
const UNUSED = randomStream(0, 'greedy')

/** Continues a prompt greedily by as many tokens as asked for, whatever they are. */
export async function complete(
  engine: Engine,
  ids: readonly number[],
  limits: Pick<EngineRequest, 'maxNewTokens' | 'name' | 'signal'>,
): Promise<number[]> {
  const generated: number[] = []
  const request = { ids, ...limits, stopIds: new Set<number>(), sampling: GREEDY, random: UNUSED }
  await drain(engine.write(request), ({ id }) => generated.push(id))
  return generated
}
