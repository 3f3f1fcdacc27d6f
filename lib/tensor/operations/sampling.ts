/** Changes logits, chooses the next token from them, and ranks tokens by them, on their device. */

import { RunError } from '../../common/errors.js'
import { native } from '../../native/addon.js'
import { scope } from '../scope.js'
import { Tensor } from '../tensor.js'
import { gatherRows } from './indexing.js'

/** Options of sampling a token from logits: topNSigma applies first, then in vLLM's order temperature, minP, topK, topP, typicalP. */
export interface Sampling {
  /** Divides the logits; 0 (or less than 1e-5) takes the likeliest token. */
  temperature: number
  /** Keep the tokens with at least this share of the likeliest token's probability; default 0, which keeps all. */
  minP?: number
  /** Keep the K likeliest tokens; 0 keeps all. */
  topK: number
  /** Then keep the fewest likeliest tokens that together have at least this probability; 1 keeps all. */
  topP: number
  /** Then keep the tokens whose information is the nearest to its mean, up to this probability; default 1, which keeps all. */
  typicalP?: number
  /** Keep the tokens at most this many standard deviations of the logits below the largest one (arXiv 2411.07641); default 0: all. */
  topNSigma?: number
}

export const GREEDY: Sampling = { temperature: 0, topK: 0, topP: 1 }

/** The choice of one token: how it is sampled, and the random number. */
export interface TokenChoice extends Sampling {
  /** The random number in [0, 1) that draws it; unused at temperature 0. */
  uniform: number
}

/** Temperatures below this one are greedy, in the kernels too (native/core/parameters.h). */
const LEAST_TEMPERATURE = 1e-5

/**
 * Chooses the next token for each row of logits [N, V]: ids [N] (int32). Equally likely tokens are ordered by id. For a row with
 * a NaN or +Infinity, or of -Infinity only, the result is -1 - id of the first such logit.
 *
 * @param choices one for each row
 */
export function sampleTokens(logits: Tensor, choices: readonly TokenChoice[]): Tensor {
  const { device } = logits
  if (choices.every(({ temperature }) => temperature < LEAST_TEMPERATURE)) return likeliestTokens(logits)
  return scope(() => {
    const ids = Tensor.empty([choices.length], { device, dtype: 'int32' })
    // The uniform numbers of a random stream have 53 bits.
    const bits = BigInt64Array.from(choices, ({ uniform }) => BigInt(Math.floor(uniform * 2 ** 53)))
    const draws = Tensor.from(bits, [bits.length], { device, dtype: 'int64' })
    const fields = choices.flatMap(({ temperature, minP = 0, topK, topP, typicalP = 1 }) => [
      temperature,
      minP,
      topK,
      topP,
      typicalP,
    ])
    const settings = Tensor.from(Float32Array.from(fields), [choices.length, 5], { device })
    native.sample(logits.native, draws.native, settings.native, ids.native)
    return ids
  })
}

/** Returns what `sampleTokens` does at temperature 0. */
export function likeliestTokens(logits: Tensor): Tensor {
  const ids = Tensor.empty([logits.shape[0]!], { device: logits.device, dtype: 'int32' })
  native.argmax(logits.native, ids.native)
  return ids
}

/** Changes of logits of one row: each becomes x + bias, then x · factor if negative, else x / factor, then x + shift. */
export interface LogitChanges {
  /** The tokens, without repetition. */
  readonly ids: Int32Array
  /** Bias, factor and shift of each token; a bias of -Infinity forbids it. */
  readonly values: Float32Array
}

/** Changes logits [N, V] (float32) in place. @param rows the changes of each row, if it has any */
export function editLogits(logits: Tensor, rows: readonly (LogitChanges | undefined)[]): void {
  const { device } = logits
  const offsets = new Int32Array(rows.length + 1)
  for (const [row, changes] of rows.entries()) offsets[row + 1] = offsets[row]! + (changes?.ids.length ?? 0)
  const count = offsets.at(-1)!
  const ids = new Int32Array(count)
  const values = new Float32Array(3 * count)
  for (const [row, changes] of rows.entries()) {
    if (!changes) continue
    ids.set(changes.ids, offsets[row]!)
    values.set(changes.values, 3 * offsets[row]!)
  }
  scope(() => {
    const [starts, places] = [offsets, ids].map((list) => Tensor.from(list, [list.length], { device, dtype: 'int32' }))
    const changes = Tensor.from(values, [count, 3], { device })
    native.editLogits(starts!.native, places!.native, changes.native, logits.native)
  })
}

/**
 * Forbids tokens in some rows of logits [N, V] (float32), in place.
 *
 * @param masks of each row, if it has one: a bit for each token, in words of 32 bits from the lowest on; 0 forbids it
 */
export function maskLogits(logits: Tensor, masks: readonly (Int32Array | undefined)[]): void {
  const { device } = logits
  const rows = [...masks.keys()].filter((row) => masks[row])
  const width = Math.ceil(logits.shape[1]! / 32)
  const words = new Int32Array(rows.length * width)
  for (const [i, row] of rows.entries()) words.set(masks[row]!, i * width)
  scope(() => {
    const mask = Tensor.from(words, [rows.length, width], { device, dtype: 'int32' })
    const places = Tensor.from(Int32Array.from(rows), [rows.length], { device, dtype: 'int32' })
    native.maskLogits(mask.native, places.native, logits.native)
  })
}

/**
 * Forbids tokens in rows of logits [N, V] (float32) whose choice has `topNSigma`, in place. Forbidden tokens count neither for the
 * largest logit nor for the standard deviation.
 */
export async function cutByDeviation(logits: Tensor, choices: readonly TokenChoice[]): Promise<void> {
  const isCut = ({ topNSigma = 0, temperature }: TokenChoice) => topNSigma > 0 && temperature >= LEAST_TEMPERATURE
  const rows = [...choices.keys()].filter((row) => isCut(choices[row]!))
  if (rows.length === 0) return
  using some = gatherRows(logits, rows)
  const values = (await some.data()) as Float32Array
  const vocabulary = logits.shape[1]!
  const masks = choices.map((): Int32Array | undefined => undefined)
  for (const [i, row] of rows.entries()) {
    const own = values.subarray(i * vocabulary, (i + 1) * vocabulary)
    masks[row] = maskFrom(own, leastLogit(own, choices[row]!.topNSigma!))
  }
  maskLogits(logits, masks)
}

/** Returns the largest logit minus `deviations` population standard deviations; NaN if a logit is NaN or Infinity, or all are forbidden. */
function leastLogit(logits: Float32Array, deviations: number): number {
  const allowed = logits.filter((value) => value !== Number.NEGATIVE_INFINITY)
  const mean = allowed.reduce((sum, value) => sum + value, 0) / allowed.length
  const variance = allowed.reduce((sum, value) => sum + (value - mean) ** 2, 0) / allowed.length
  return (
    allowed.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY) - deviations * Math.sqrt(variance)
  )
}

/** Returns a bit for each logit that is not less than `least`. */
function maskFrom(logits: Float32Array, least: number): Int32Array {
  const words = new Int32Array(Math.ceil(logits.length / 32))
  for (const [id, value] of logits.entries()) if (!(value < least)) words[id >> 5]! |= 1 << (id & 31)
  return words
}

/** A chosen token, with its place among all tokens if log-probabilities were requested. */
export interface NewToken {
  /** Id. */
  readonly id: number
  /** Natural log-probability, before any option of sampling. */
  readonly logprob?: number
  /** 1 for the likeliest token. */
  readonly rank?: number
  /** The likeliest tokens. */
  readonly top?: readonly Required<Pick<NewToken, 'id' | 'logprob'>>[]
}

export type RankedToken = Required<NewToken>

/**
 * Ranks a token of each row of logits [N, V] (float32), by their softmax as it is.
 *
 * @param most length of the lists of likeliest tokens
 */
export async function rankTokens(logits: Tensor, ids: readonly number[], most: number): Promise<RankedToken[]> {
  const { device, shape } = logits
  const count = ids.length
  const listed = Math.min(most, shape[1]!)
  using tokens = Tensor.from(Int32Array.from(ids), [count], { device, dtype: 'int32' })
  using ranks = Tensor.empty([count], { device, dtype: 'int32' })
  using top = Tensor.empty([count, listed], { device, dtype: 'int32' })
  using logprobs = Tensor.empty([count, 1 + listed], { device })
  native.logProbabilities(logits.native, tokens.native, ranks.native, top.native, logprobs.native)
  const [places, columns, values] = await Promise.all([ranks.data(), top.data(), logprobs.data()])
  return ids.map((id, row) => {
    const at = row * (1 + listed)
    const list = Array.from({ length: listed }, (_, i) => {
      return { id: Number(columns[row * listed + i]), logprob: Number(values[at + 1 + i]) }
    })
    return { id, logprob: Number(values[at]), rank: Number(places[row]), top: list }
  })
}

/** Returns the error for a model that computes a number that is not finite. */
export function damagedModel(what: string, value: number): RunError {
  return new RunError(
    'non-finite',
    `The model's ${what} is ${value}: its weights or its adapter are damaged, or its numbers overflow its dtype.`,
  )
}
