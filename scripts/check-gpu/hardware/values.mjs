/** Inputs of cases, and the comparison of results. */
import { float32FromHalf, halfFromFloat32 } from '../../../bench/common/internals.mjs'

/** Numbers in [-1, 1), the same for the same seed (xorshift, G. Marsaglia 2003). */
export function uniform(count, seed) {
  const values = new Float32Array(count)
  let state = Math.imul(seed + 1, 0x9e3779b9) | 1
  for (let i = 0; i < count; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    values[i] = (state >> 8) / 2 ** 23
  }
  return values
}

/** Rounds values to bfloat16. */
export const rounded = (values) => float32FromHalf(halfFromFloat32(values, 'bfloat16'), 'bfloat16')

/** The largest difference, relative to the largest expected magnitude; infinite where a number is missing. */
export function relative(actual, expected) {
  let [largest, apart] = [0, 0]
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(Number(actual[i]) - Number(expected[i]))
    if (!(difference <= apart)) apart = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference
    largest = Math.max(largest, Math.abs(Number(expected[i])))
  }
  return apart === 0 ? 0 : apart / largest
}

/** Tolerance: a rounding to bfloat16 on either side, and the error of float32 sums. */
export const allowedOf = { bfloat16: 2 ** -7, float32: 2 ** -16 }
