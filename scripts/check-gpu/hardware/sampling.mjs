/** Tokens drawn from a vocabulary of 262,144, beside the definition in float64 (native/core/parameters.h, Sampling). */
import { native } from '../../../bench/common/internals.mjs'
import { uniform } from './values.mjs'

export function casesOf({ tiny, device }) {
  const V = tiny ? 300 : 262144
  const ways = [
    { temperature: 1, topK: 0, topP: 1 },
    { temperature: 0.7, topK: 50, topP: 1 },
    { temperature: 1.3, topK: 0, topP: 0.9 },
    { temperature: 1, topK: 1000, topP: 0.5 },
  ]
  return ways.map((sampling) => sample(device, V, sampling))
}

function sample(device, V, sampling) {
  const { temperature, topK, topP } = sampling
  const rows = 8
  return {
    name: `${rows} tokens of ${V}, temperature ${temperature}, topK ${topK}, topP ${topP}`,
    bytes: 4 * rows * V,
    async run(held) {
      const values = uniform(rows * V, 1).map((value) => 12 * value)
      const draws = Array.from(uniform(rows, 2), (value) => (value + 1) / 2)
      const logits = held.from(device, 'float32', [rows, V], values)
      const bits = BigInt64Array.from(draws, (draw) => BigInt(Math.floor(draw * 2 ** 53)))
      const settings = Float32Array.from({ length: 5 * rows }, (_, i) => [temperature, 0, topK, topP, 1][i % 5])
      const ids = held.empty(device, 'int32', [rows])
      native.sample(
        logits.native,
        held.from(device, 'int64', [rows], bits).native,
        held.from(device, 'float32', [rows, 5], settings).native,
        ids.native,
      )
      const chosen = await ids.data()
      let apart = 0
      for (let row = 0; row < rows; row++)
        apart = Math.max(apart, distance(values.subarray(row * V, (row + 1) * V), sampling, draws[row], chosen[row]))
      return { apart, allowed: 1e-5, what: 'of the probability' }
    },
  }
}

/** How far the draw is from the chosen token's share of the running sum; 1 where the token is excluded. */
function distance(logits, { temperature, topK, topP }, draw, id) {
  const plain = topK === 0 && topP === 1
  const order = Array.from(logits.keys())
  if (!plain) order.sort((a, b) => logits[b] - logits[a] || a - b)
  const kept = topK > 0 ? order.slice(0, topK) : order
  const largest = logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY)
  const weights = kept.map((token) => Math.exp((logits[token] - largest) / temperature))
  const sum = weights.reduce((total, weight) => total + weight, 0)
  let [nucleus, end] = [0, 0]
  while (end < kept.length && (topP === 1 || nucleus < topP * sum)) nucleus += weights[end++]
  const at = kept.indexOf(id)
  if (at < 0 || at > end) return 1
  const before = weights.slice(0, at).reduce((total, weight) => total + weight, 0) / nucleus
  return Math.max(0, before - draw, draw - (before + weights[at] / nucleus))
}
