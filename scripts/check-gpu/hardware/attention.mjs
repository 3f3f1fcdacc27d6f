/** Attention over one document of 32,768 tokens, forward and backward: some rows beside float64. */
import { native } from '../../../bench/common/internals.mjs'
import { rounded, uniform } from './values.mjs'

export function casesOf({ tiny, device }) {
  const sizes = tiny
    ? [{ T: 40, H: 4, K: 2, E: 16 }]
    : [
        { T: 32768, H: 8, K: 2, E: 128 },
        { T: 32768, H: 3, K: 1, E: 64 },
      ]
  return sizes.map((size) => attention(device, size))
}

function attention(device, { T, H, K, E }) {
  const dtype = 'bfloat16'
  return {
    name: `attention of ${T} tokens, ${H} heads, ${K} of keys, head size ${E}`,
    bytes: 2 * 4 * T * (H + K) * E + 8 * H * T,
    async run(held) {
      const values = (heads, seed) => rounded(uniform(T * heads * E, seed))
      const given = { q: values(H, 1), k: values(K, 2), v: values(K, 3), dOut: values(H, 4) }
      const input = (heads, numbers) => held.from(device, dtype, [T, heads, E], numbers).native
      const output = (heads) => held.empty(device, dtype, [T, heads, E])
      const [q, k, v, dOut] = [input(H, given.q), input(K, given.k), input(K, given.v), input(H, given.dOut)]
      const [out, dQ, dK, dV] = [output(H), output(H), output(K), output(K)]
      const lse = held.empty(device, 'float32', [H, T])
      const offsets = held.from(device, 'int32', [2], Int32Array.of(0, T)).native
      const scoring = { scale: 1 / Math.sqrt(E), softcap: 0, window: 0 }
      const documents = { queryOffsets: offsets, keyOffsets: offsets, scoring }
      const forward = { q, k, v, out: out.native, lse: lse.native, ...documents }
      native.attention(forward)
      native.attentionBackward({ dOut, ...forward, dQ: dQ.native, dK: dK.native, dV: dV.native })
      const found = {
        out: await out.data(),
        lse: await lse.data(),
        dQ: await dQ.data(),
        dK: await dK.data(),
        dV: await dV.data(),
      }
      return {
        apart: apartOf({ ...given, ...found }, { T, H, K, E }, scoring.scale),
        allowed: 2 ** -6,
        what: 'of rows that were drawn',
      }
    },
  }
}

/**
 * The largest difference of drawn rows of out, dQ, dK and dV from float64, relative to the largest of each, and that of the log
 * of the softmax's sum. Values that need all rows (out and that sum, from which gradients are computed) are the device's own.
 */
function apartOf({ q, k, v, dOut, out, lse, dQ, dK, dV }, { T, H, K, E }, scale) {
  const group = H / K
  const dot = (a, atA, b, atB) => {
    let sum = 0
    for (let i = 0; i < E; i++) sum += a[atA + i] * b[atB + i]
    return sum
  }
  const ofQuery = (i, h) => (i * H + h) * E
  const ofKey = (j, h) => (j * K + h) * E
  const probability = (i, j, h) =>
    Math.exp(scale * dot(q, ofQuery(i, h), k, ofKey(j, Math.floor(h / group))) - lse[h * T + i])
  const delta = (i, h) => dot(out, ofQuery(i, h), dOut, ofQuery(i, h))
  const seen = { out: new Differences(), dQ: new Differences(), dK: new Differences(), dV: new Differences() }
  let apart = 0

  const rows = [0, 1, Math.floor(T / 3), Math.floor(T / 2), T - 2, T - 1]
  for (const i of rows) {
    for (const h of [0, H - 1]) {
      const keyHead = Math.floor(h / group)
      const [attended, gradient] = [new Float64Array(E), new Float64Array(E)]
      let sum = 0
      for (let j = 0; j <= i; j++) {
        const p = probability(i, j, h)
        sum += p
        const dScore = scale * p * (dot(dOut, ofQuery(i, h), v, ofKey(j, keyHead)) - delta(i, h))
        for (let e = 0; e < E; e++) {
          attended[e] += p * v[ofKey(j, keyHead) + e]
          gradient[e] += dScore * k[ofKey(j, keyHead) + e]
        }
      }
      apart = Math.max(apart, Math.abs(sum - 1))
      seen.out.add(out, ofQuery(i, h), attended)
      seen.dQ.add(dQ, ofQuery(i, h), gradient)
    }
  }
  for (const j of rows) {
    for (const keyHead of new Set([0, K - 1])) {
      const [toKey, toValue] = [new Float64Array(E), new Float64Array(E)]
      for (let h = keyHead * group; h < (keyHead + 1) * group; h++) {
        for (let i = j; i < T; i++) {
          const p = probability(i, j, h)
          const dScore = scale * p * (dot(dOut, ofQuery(i, h), v, ofKey(j, keyHead)) - delta(i, h))
          for (let e = 0; e < E; e++) {
            toKey[e] += dScore * q[ofQuery(i, h) + e]
            toValue[e] += p * dOut[ofQuery(i, h) + e]
          }
        }
      }
      seen.dK.add(dK, ofKey(j, keyHead), toKey)
      seen.dV.add(dV, ofKey(j, keyHead), toValue)
    }
  }
  return Math.max(apart, ...Object.values(seen).map((differences) => differences.relative))
}

class Differences {
  #largest = 0
  #apart = 0

  add(actual, at, expected) {
    for (const [i, value] of expected.entries()) {
      const difference = Math.abs(actual[at + i] - value)
      if (!(difference <= this.#apart)) this.#apart = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference
      this.#largest = Math.max(this.#largest, Math.abs(value))
    }
  }

  get relative() {
    return this.#apart / this.#largest
  }
}
