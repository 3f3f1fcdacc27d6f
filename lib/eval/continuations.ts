/** Scores and generates continuations of prompts. */
import { randomStream } from '../common/random.js'
import { strip } from '../data/templates/jinja/methods.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { Engine } from '../engine/index.js'
import { type ContinuationRequest, drain, GREEDY, type PromptCache } from '../generate/index.js'
import { damagedModel } from '../tensor/operations/sampling.js'
import { float64Sum, rowsAtOnce, scoreRows } from './score.js'
import type { TaskContext } from './task.js'

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

/**
 * Computes the log-probability of each continuation of a prompt, summed in float64. If each is one token, the prompt is read once, and
 * only its part that differs from the last one. The beginning of a row that is too long is cut.
 */
export async function scoreContinuations(
  cache: PromptCache,
  prompt: readonly number[],
  continuations: readonly (readonly number[])[],
  { model, options, cut, signal }: Pick<TaskContext, 'model' | 'options' | 'cut' | 'signal'>,
): Promise<number[]> {
  if (continuations.every((ids) => ids.length === 1)) {
    const logits = await cache.read(cut(prompt, 1), signal)
    const normaliser = logSumExp(logits)
    if (!Number.isFinite(normaliser)) throw damagedModel('sum of exponentials of logits', normaliser)
    return continuations.map(([id]) => logits[id!]! - normaliser)
  }
  const rows = continuations.map((ids) => {
    const row = Int32Array.from([...cut(prompt, ids.length), ...ids])
    return { ids: row, mask: new Uint8Array(row.length).fill(1, row.length - ids.length) }
  })
  const scores: number[] = []
  for await (const { logprobs } of scoreRows(model, rows, { batchSize: rowsAtOnce(options), signal })) {
    scores.push(float64Sum(logprobs))
  }
  return scores
}

/** Returns the log of the sum of exponentials, in float64. */
function logSumExp(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY
  for (const logit of logits) max = Math.max(max, logit)
  let total = 0
  for (const logit of logits) total += Math.exp(logit - max)
  return max + Math.log(total)
}

/** A stream that greedy sampling never reads. */
const UNUSED = randomStream(0, 'greedy')

/** Continues a prompt greedily by as many tokens as asked for, whatever they are. */
export async function complete(
  engine: Engine,
  ids: readonly number[],
  limits: Pick<ContinuationRequest, 'maxNewTokens' | 'name' | 'signal'>,
): Promise<number[]> {
  const generated: number[] = []
  const request = { ids, ...limits, stopIds: new Set<number>(), sampling: GREEDY, random: UNUSED }
  await drain(engine.write(request), ({ id }) => generated.push(id))
  return generated
}
