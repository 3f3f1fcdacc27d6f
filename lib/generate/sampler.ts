/** Which token comes next, given the logits. */

import { RunError } from '../errors.js'
import type { RandomStream } from '../random.js'

export interface Sampling {
  /** Divides the logits; 0 takes the likeliest token. */
  temperature: number
  /** Keep the K likeliest tokens; 0 keeps all. */
  topK: number
  /** Then keep the fewest likeliest tokens that together have at least this probability; 1 keeps all. */
  topP: number
}

export const GREEDY: Sampling = { temperature: 0, topK: 0, topP: 1 }

/**
 * @param logits [V]
 * @param random read once for each token, and not at all at temperature 0
 * @throws RunError `non-finite`
 */
export function sampleToken(logits: Float32Array, sampling: Sampling, random: RandomStream): number {
  const best = likeliest(logits)
  const { temperature, topK, topP } = sampling
  if (temperature === 0) return best
  const weights = new Float64Array(logits.length)
  for (const [id, logit] of logits.entries()) weights[id] = Math.exp((logit - logits[best]!) / temperature)
  return draw(weights, candidates(logits, weights, topK, topP), random.uniform())
}

/** The likeliest token; of several, the first. */
export function likeliest(logits: Float32Array): number {
  let best = 0
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id]!
    if (Number.isNaN(logit) || logit === Number.POSITIVE_INFINITY) throw nonFinite(logit, id)
    if (logit > logits[best]!) best = id
  }
  if (logits[best] === Number.NEGATIVE_INFINITY) throw nonFinite(logits[best]!, best)
  return best
}

function nonFinite(logit: number, id: number): RunError {
  return new RunError(
    'non-finite',
    `The model's logit of token ${id} is ${logit}: its weights or its adapter are damaged, or its numbers overflow its dtype.`,
  )
}

/** Ids that may be drawn, the likeliest first; null for all. */
function candidates(logits: Float32Array, weights: Float64Array, topK: number, topP: number): number[] | null {
  const limited = topK > 0 && topK < logits.length
  if (!limited && topP >= 1) return null
  let ids = limited ? overThreshold(logits, kthLargest(logits, topK)) : possibleNucleus(weights, topP)
  ids.sort((a, b) => logits[b]! - logits[a]! || a - b)
  if (limited) ids = ids.slice(0, topK)
  if (topP >= 1) return ids
  const total = limited ? sum(weights, ids) : sum(weights, null)
  let kept = 0
  let probability = 0
  while (kept < ids.length && probability < topP * total) probability += weights[ids[kept++]!]!
  return ids.slice(0, Math.max(kept, 1))
}

function kthLargest(logits: Float32Array, k: number): number {
  return logits.slice().sort()[logits.length - k]!
}

function overThreshold(values: ArrayLike<number>, threshold: number): number[] {
  const ids: number[] = []
  for (let id = 0; id < values.length; id++) if (values[id]! >= threshold) ids.push(id)
  return ids
}

/**
 * All tokens whose probability is below (1 - topP) / V have less than 1 - topP together, so the tokens to keep are among the
 * others: few enough to sort.
 */
function possibleNucleus(weights: Float64Array, topP: number): number[] {
  return overThreshold(weights, Math.min(1, ((1 - topP) * sum(weights, null)) / weights.length))
}

function sum(weights: Float64Array, ids: readonly number[] | null): number {
  let total = 0
  if (ids) for (const id of ids) total += weights[id]!
  else for (const weight of weights) total += weight
  return total
}

/** @param uniform in [0, 1) */
function draw(weights: Float64Array, ids: readonly number[] | null, uniform: number): number {
  let left = uniform * sum(weights, ids)
  let last = 0
  const count = ids?.length ?? weights.length
  for (let i = 0; i < count; i++) {
    const id = ids ? ids[i]! : i
    const weight = weights[id]!
    if (weight === 0) continue
    last = id
    left -= weight
    if (left < 0) return id
  }
  return last
}
