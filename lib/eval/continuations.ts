/** Scores and generates continuations of prompts. */
import { randomStream } from '../common/random.js'
import { type ContinuationRequest, continueTokens, drain, GREEDY, type PromptCache } from '../generate/index.js'
import { damagedModel } from '../tensor/operations/sampling.js'
import { float64Sum, type ScoreOptions, scoreRows } from './score.js'
import type { EvaluatedModel } from './task.js'

/**
 * Computes the log-probability of each continuation of a prompt. If each is one token, the prompt is read once, and only its
 * part that differs from the last one.
 */
export async function scoreContinuations(
  model: EvaluatedModel,
  cache: PromptCache,
  prompt: readonly number[],
  continuations: readonly (readonly number[])[],
  { batchSize, signal }: ScoreOptions,
): Promise<number[]> {
  if (continuations.every((ids) => ids.length === 1)) {
    const logits = await cache.read(prompt, signal)
    const normaliser = logSumExp(logits)
    if (!Number.isFinite(normaliser)) throw damagedModel('sum of exponentials of logits', normaliser)
    return continuations.map(([id]) => logits[id!]! - normaliser)
  }
  const rows = continuations.map((ids) => {
    const row = Int32Array.from([...prompt, ...ids])
    return { ids: row, mask: new Uint8Array(row.length).fill(1, prompt.length) }
  })
  const scores: number[] = []
  for await (const { logprobs } of scoreRows(model, rows, { batchSize, signal })) scores.push(float64Sum(logprobs))
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

type Stops = Partial<Pick<ContinuationRequest, 'stopIds'>>

const NO_STOPS: ReadonlySet<number> = new Set()
/** A stream that greedy sampling never reads. */
const UNUSED = randomStream(0, 'greedy')

/** Continues a prompt greedily; the result leaves out the token that ended it. */
export async function complete(
  cache: PromptCache,
  ids: readonly number[],
  { stopIds = NO_STOPS, ...limits }: Pick<ContinuationRequest, 'maxNewTokens' | 'name' | 'signal'> & Stops,
): Promise<number[]> {
  const generated: number[] = []
  const request = { ids, ...limits, stopIds, sampling: GREEDY, random: UNUSED }
  await drain(continueTokens(cache, request), (id) => generated.push(id))
  if (stopIds.has(generated.at(-1)!)) generated.pop()
  return generated
}
